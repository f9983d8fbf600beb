import type { EventEnd } from '../events.ts'

/** As flags take it; undefined: it has none. */
export function findName({ namespace, pod, workload }: EventEnd): string | undefined {
  const name = pod ?? workload
  if (namespace === undefined || name === undefined) return undefined
  if (namespace === '') return pod === '' ? 'host' : quote(name)
  return quote(`${namespace}/${name}`)
}

/** A name with a blank or an arrow in it could look like two. */
export const quote = (text: string): string => (/^[\w.@/-]+$/.test(text) ? text : JSON.stringify(text))

export function socketOf({ address, port }: EventEnd): string {
  if (address === undefined) return '?'
  if (port === undefined) return address
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** Name and port; the address where there is no name. */
export function nameOf(end: EventEnd): string {
  const name = findName(end)
  if (name === undefined) return socketOf(end)
  return end.port === undefined ? name : `${name}:${end.port}`
}
