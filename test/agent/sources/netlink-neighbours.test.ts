import { expect, it } from 'vitest'
import { createNetlinkNeighbours } from '../../../agent/sources/netlink-neighbours.ts'
import { collectFrom, valuesOf } from '../../source-contract.ts'
import { attribute, createFakeHost, message, u32 } from './fake-host.ts'

const ndtmsg = new Uint8Array(4)
/** struct ndt_stats: eleven numbers of 64 bits, res_failed the fourth, table_fulls the last. */
function ndtStats(failed: number, fulls: number): Uint8Array {
  const bytes = Buffer.alloc(11 * 8)
  bytes.writeBigUInt64LE(BigInt(failed), 3 * 8)
  bytes.writeBigUInt64LE(BigInt(fulls), 10 * 8)
  return bytes
}
const table = (name: string, entries: number, limit: number, stats: Uint8Array): Uint8Array =>
  message(ndtmsg, attribute(1, name), attribute(4, u32(limit)), attribute(5, u32(0, entries)), attribute(7, stats))

it('tells both tables by family, and no other', async () => {
  const fake = createFakeHost()
  fake.answers['neighbour-tables'] = [
    table('arp_cache', 4, 1024, ndtStats(5, 6)),
    table('dn_neigh_cache', 99, 99, ndtStats(99, 99)),
    table('ndisc_cache', 7, 2048, ndtStats(8, 9)),
    message(ndtmsg, attribute(1, 'arp_cache')), // the parameters of a device
  ]
  const collected = await collectFrom(createNetlinkNeighbours(fake.host))
  expect(valuesOf(collected, 'netvitals_neighbour_entries')).toEqual({ 'family=ipv4': 4, 'family=ipv6': 7 })
  expect(valuesOf(collected, 'netvitals_neighbour_entries_limit')).toEqual({ 'family=ipv4': 1024, 'family=ipv6': 2048 })
  expect(valuesOf(collected, 'netvitals_neighbour_resolution_failures_total')).toEqual({ 'family=ipv4': 5, 'family=ipv6': 8 })
  expect(valuesOf(collected, 'netvitals_neighbour_table_full_total')).toEqual({ 'family=ipv4': 6, 'family=ipv6': 9 })
})

it('reads /proc without netlink, where IPv6 may be missing', async () => {
  const fake = createFakeHost()
  fake.files['/proc/net/stat/arp_cache'] =
    'entries res_failed table_fulls\n00000004 00000001 00000000\n00000004 00000002 0000000a\n'
  fake.files['/proc/sys/net/ipv4/neigh/default/gc_thresh3'] = '1024\n'
  const collected = await collectFrom(createNetlinkNeighbours(fake.host))
  expect(collected.error).toBeUndefined()
  expect(valuesOf(collected, 'netvitals_neighbour_entries')).toEqual({ 'family=ipv4': 4 })
  expect(valuesOf(collected, 'netvitals_neighbour_resolution_failures_total')).toEqual({ 'family=ipv4': 3 })
  expect(valuesOf(collected, 'netvitals_neighbour_table_full_total')).toEqual({ 'family=ipv4': 10 })
})
