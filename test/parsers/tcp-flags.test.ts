import { expect, it } from 'vitest'
import { tcpFlagNames } from '../../parsers/tcp-flags.ts'

it.each([
  [0, []],
  [0x02, ['SYN']],
  [0x12, ['SYN', 'ACK']],
  [0x14, ['RST', 'ACK']],
  [0xff, ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR']],
])('%d is %j', (flags, names) => expect(tcpFlagNames(flags)).toEqual(names))
