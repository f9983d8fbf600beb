import type { Need } from './source.ts'

/** What every capture of packets needs. */
export const captureNeeds: readonly Need[] = [{ library: 'libpcap.so' }, { capability: 'CAP_NET_RAW' }]
