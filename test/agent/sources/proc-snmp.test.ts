import { expect, it } from 'vitest'
import { createProcSnmp } from '../../../agent/sources/proc-snmp.ts'
import { collectFrom, valuesOf } from '../../source-contract.ts'
import { createFakeHost, type FakeHost } from './fake-host.ts'

function fakeWith(snmp: string, netstat: string, snmp6?: string): FakeHost {
  const fake = createFakeHost()
  fake.files['/proc/net/snmp'] = snmp
  fake.files['/proc/net/netstat'] = netstat
  if (snmp6 !== undefined) fake.files['/proc/net/snmp6'] = snmp6
  return fake
}
const udp = 'Udp: InDatagrams NoPorts\nUdp: 10 20\n'
const aborts = 'TcpExt: TCPAbortOnData TCPAbortOnClose\nTcpExt: 3 4\n'

it('adds IPv4 and IPv6, each counter by its own name', async () => {
  const collected = await collectFrom(createProcSnmp(fakeWith(udp, aborts, 'Udp6InDatagrams 5\nUdp6NoPorts 7\n').host))
  expect(valuesOf(collected, 'netvitals_udp_received_datagrams_total')).toEqual({ '': 15 })
  expect(valuesOf(collected, 'netvitals_udp_no_port_total')).toEqual({ '': 27 })
})

it('is content with IPv4 where the kernel has no IPv6', async () => {
  const collected = await collectFrom(createProcSnmp(fakeWith(udp, aborts).host))
  expect(collected.error).toBeUndefined()
  expect(valuesOf(collected, 'netvitals_udp_no_port_total')).toEqual({ '': 20 })
})

it('says of what this kernel does not count that it does not, and never 0', async () => {
  const collected = await collectFrom(createProcSnmp(fakeWith(udp, aborts).host))
  expect(collected.absent.get('netvitals_tcp_timeouts_total')).toBe('this kernel does not count TcpExt.TCPTimeouts')
  expect(valuesOf(collected, 'netvitals_tcp_timeouts_total')).toEqual({})
  expect(valuesOf(collected, 'netvitals_tcp_aborts_total')).toEqual({ 'reason=data': 3, 'reason=close': 4 })
})
