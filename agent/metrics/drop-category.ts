// Placeholder of the lead until the real one is written here (helper: overwrite me).
export const dropCategories = [
  'netfilter',
  'no_socket',
  'socket_buffer',
  'connection_state',
  'checksum',
  'malformed',
  'routing',
  'neighbour',
  'queue',
  'ttl',
  'mtu',
  'memory',
  'device',
  'other',
  'normal',
] as const
export type DropCategory = (typeof dropCategories)[number]
export const categoryOfDropReason = (name: string): DropCategory =>
  name === 'netfilter_drop'
    ? 'netfilter'
    : name === 'no_socket'
      ? 'no_socket'
      : name === 'socket_rcvbuff'
        ? 'socket_buffer'
        : 'other'
