import { describe, expect, it } from 'vitest'
import { readConfig } from '../../agent/config.ts'
import { createSocketFilter, type SocketFilter, type UnownedSocket } from '../../agent/socket-filter.ts'

function filterOf(...argv: string[]): SocketFilter {
  const config = readConfig(['show', 'sockets', ...argv], {})
  if ('print' in config) throw new Error('help')
  return createSocketFilter(config)
}
const socket: UnownedSocket = {
  state: 'close_wait',
  local: { namespace: 'shop', pod: 'api-1', address: '10.0.0.4', port: 80 },
  peer: { address: '2001:db8::9', port: 41_000 },
  receiveQueue: 0,
}
const listener: UnownedSocket = { state: 'listen', local: { address: '::', port: 80 }, receiveQueue: 0 }

describe('a socket', () => {
  it.each<[string[], boolean, boolean]>([
    [[], true, true],
    [['--state', 'close-wait'], true, false],
    [['--not', '--state', 'listen'], true, false],
    [['--port', '80'], true, true],
    [['--port', '41000'], true, false],
    [['--not', '--port', '1-1024'], false, false],
    [['--ip', '10.0.0.0/8'], true, false],
    [['--ip', '2001:db8::/32'], true, false],
    [['--peer', '10.0.0.0/8'], false, false],
    [['--peer', '2001:db8::9'], true, false],
    [['--not', '--peer', '2001:db8::/32'], false, true],
    [['--state', 'close_wait', '--port', '81'], false, false],
  ])('%j', (argv, ofSocket, ofListener) => {
    const { admits } = filterOf(...argv)
    expect([admits(socket), admits(listener)]).toEqual([ofSocket, ofListener])
  })
})

describe('whose', () => {
  const shop = { namespace: 'shop', pod: 'api-1' }
  const host = { namespace: '', pod: '' }
  it.each<[string[], boolean, boolean]>([
    [['--pod', 'api-*'], true, false],
    [['--pod', 'host'], false, true],
    [['-n', 'shop'], true, false],
    [['--not', '--pod', 'host'], true, false],
    [['-n', 'shop', '--not', '--pod', 'api-1'], false, false],
  ])('%j', (argv, ofShop, ofHost) => {
    const { admitsEnd } = filterOf(...argv)
    expect([admitsEnd(shop), admitsEnd(host)]).toEqual([ofShop, ofHost])
  })
})

describe('which process', () => {
  const api = { pid: 42, command: 'api.js', commandLine: '' }
  it.each<[string[], boolean, boolean]>([
    [[], true, true],
    [['--process', '42'], true, false],
    [['--process', '4'], false, false],
    [['--process', 'api*,x'], true, false],
    [['--process', 'apiXjs'], false, false],
    [['--not', '--process', 'api.js'], false, true],
  ])('%j', (argv, ofApi, ofNobody) => {
    const { admitsProcess } = filterOf(...argv)
    expect([admitsProcess(api), admitsProcess(undefined)]).toEqual([ofApi, ofNobody])
  })
})
