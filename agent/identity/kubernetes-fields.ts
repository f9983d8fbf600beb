import { readAddress } from '../../parsers/address.ts'

/** Of what is a JSON object; undefined of anything else. */
export function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined
}

const labelSyntax = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/
const subdomainSyntax = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/
const labelValueSyntax = /^[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$/
const kindSyntax = /^[A-Za-z][A-Za-z0-9]{0,62}$/
const uidSyntax = /^[A-Za-z0-9][-A-Za-z0-9]{0,63}$/
const containerIdSyntax = /^(?:[a-z][-+.a-z0-9]{0,31}:\/\/)?([A-Za-z0-9][-_A-Za-z0-9]{0,127})$/
const timeSyntax = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(?:Z|[-+][0-9]{2}:[0-9]{2})$/

const match = (value: unknown, syntax: RegExp, group = 0): string | undefined =>
  typeof value === 'string' ? syntax.exec(value)?.[group] : undefined

// Each: undefined if it is not as Kubernetes writes such things.

export const asArray = (value: unknown): readonly unknown[] | undefined => (Array.isArray(value) ? value : undefined)
export const readNamespace = (value: unknown): string | undefined => match(value, labelSyntax)
export const readLabelValue = (value: unknown): string | undefined => match(value, labelValueSyntax)
export const readKind = (value: unknown): string | undefined => match(value, kindSyntax)
export const readUid = (value: unknown): string | undefined => match(value, uidSyntax)
/** `containerd://<id>` → id. */
export const readContainerId = (value: unknown): string | undefined => match(value, containerIdSyntax, 1)
/** Names of most objects, such as pods. */
export const readSubdomain = (value: unknown): string | undefined =>
  typeof value === 'string' && value.length <= 253 ? match(value, subdomainSyntax) : undefined
/** As parsers/address.ts writes it. */
export const readIp = (value: unknown): string | undefined => (typeof value === 'string' ? readAddress(value) : undefined)

export function readTime(value: unknown): number | undefined {
  const timeMs = Date.parse(match(value, timeSyntax) ?? '')
  return Number.isNaN(timeMs) ? undefined : timeMs
}
