import { expect, it } from 'vitest'
import { createProcSockstat } from '../../../agent/sources/proc-sockstat.ts'
import { collectFrom, type valuesOf } from '../../source-contract.ts'
import { createFakeHost, netnsOf } from './fake-host.ts'

const sockstat = 'sockets: used 50\nTCP: inuse 20 orphan 3 tw 4 alloc 41 mem 7\n'

it('tells memory in bytes, and what is of the machine once', async () => {
  const fake = createFakeHost([netnsOf('other')])
  fake.files['/proc/net/sockstat'] = sockstat
  fake.files['other /proc/net/sockstat'] = 'sockets: used 9\nTCP: inuse 0 orphan 3 tw 0 alloc 41 mem 7\n'
  fake.files['/proc/sys/net/ipv4/tcp_mem'] = '10\t20\t30\n'
  fake.files['/proc/sys/net/ipv4/tcp_max_orphans'] = '8192\n'
  const collected = await collectFrom(createProcSockstat(fake.host))
  const mine = (metric: Parameters<typeof valuesOf>[1]): unknown =>
    collected.emitted.filter((one) => one.metric === metric).map(({ value }) => value)
  expect(mine('netvitals_tcp_memory_bytes')).toEqual([7 * 4096])
  expect(mine('netvitals_tcp_memory_limit_bytes')).toEqual([30 * 4096])
  expect(mine('netvitals_tcp_orphans')).toEqual([3])
  expect(mine('netvitals_sockets_used')).toEqual([50, 9])
  expect([...collected.absent]).toEqual([['netvitals_tcp_time_wait_sockets_limit', 'no /proc/sys/net/ipv4/tcp_max_tw_buckets']])
})
