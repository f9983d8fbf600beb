import net from 'node:net'
import type { Choice } from './config.ts'
import type { EndPattern, Network, PortRange } from './config-values.ts'
import type { EventEnd } from './events.ts'

/** Of one filter: the thing fits one of its values, or there are none, and none of those after --not. */
export function isLetThrough<T>({ only, not }: Choice<T>, isFitting: (value: T) => boolean): boolean {
  return (only.length === 0 || only.some(isFitting)) && !not.some(isFitting)
}

/** A Service or a network, which is no pod, goes by its own name. */
export function isNamed(pattern: EndPattern, { namespace, pod, workload }: EventEnd): boolean {
  const name = pod ?? workload
  if (namespace === undefined || name === undefined) return false
  if (namespace === '' && pod === '') return pattern === 'host'
  return pattern !== 'host' && pattern.pod.test(name) && (pattern.namespace?.test(namespace) ?? true)
}

/** An IPv6 network holds no IPv4 addresses, though ::/0 would by way of ::ffff:0:0/96. */
export function isWithin({ family, addresses }: Network, { address = '' }: EventEnd): boolean {
  const version = net.isIP(address)
  if (version === 0 || (family === 'ipv6' && version === 4)) return false
  return addresses.check(address, version === 4 ? 'ipv4' : 'ipv6')
}

export function hasPort({ first, last }: PortRange, { port }: EventEnd): boolean {
  return port !== undefined && first <= port && port <= last
}
