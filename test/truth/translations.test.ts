import { afterEach, beforeEach, expect, it } from 'vitest'
import { createFiles } from '../../agent/host/files.ts'
import { loadLibc } from '../../agent/host/libc.ts'
import { createNamespaces, type Namespaces, type NetworkNamespace } from '../../agent/host/namespaces.ts'
import { createNetlink, type Netlink } from '../../agent/host/netlink.ts'
import { type Connection, createTranslations, type End, type Translations } from '../../agent/host/translations.ts'
import { formatAddress } from '../../parsers/address.ts'
import { createTopology, requireRoot, type Topology } from './topology.ts'

const { signal } = new AbortController()
const established = 1
const service = { ipv4: '10.96.0.10', ipv6: 'fd96::10' }

requireRoot('translated addresses', () => {
  let topology: Topology
  let router: NonNullable<Topology['router']>
  let namespaces: Namespaces
  let netlink: Netlink
  let translations: Translations
  beforeEach(async () => {
    topology = await createTopology('nvc-translations', { router: true })
    router = topology.router!
    const libc = await loadLibc()
    namespaces = createNamespaces({ root: '/', libc })
    namespaces.refresh()
    netlink = createNetlink({ root: '/', namespaces, libc })
    // The router is what a node is to its pods.
    const seenFromRouter = { ...namespaces, host: find(router.name) }
    translations = createTranslations({
      namespaces: seenFromRouter,
      netlink,
      files: createFiles({ root: '/', namespaces }),
      libc,
    })
  })
  afterEach(() => topology?.dispose())

  const find = (name: string): NetworkNamespace => namespaces.list().find((netns) => netns.name === name)!

  /** As kube-proxy does it: every second connection to port 80 of the Service to the first of two servers. */
  function addService(family: 'ipv4' | 'ipv6', masquerade: boolean): void {
    const iptables = family === 'ipv4' ? 'iptables' : 'ip6tables'
    const { b } = topology
    const server = (port: number): string => (family === 'ipv4' ? `${b.ipv4}:${port}` : `[${b.ipv6}]:${port}`)
    const match = ['-t', 'nat', '-A', 'PREROUTING', '-d', service[family], '-p', 'tcp', '--dport', '80']
    const everySecond = ['-m', 'statistic', '--mode', 'nth', '--every', '2', '--packet', '0']
    topology.exec(router, iptables, ...match, ...everySecond, '-j', 'DNAT', '--to-destination', server(8001))
    topology.exec(router, iptables, ...match, '-j', 'DNAT', '--to-destination', server(8002))
    if (masquerade) topology.exec(router, iptables, '-t', 'nat', '-A', 'POSTROUTING', '-p', 'tcp', '-j', 'MASQUERADE')
  }

  async function connectionsOf(name: string): Promise<Connection[]> {
    const found: Connection[] = []
    const socket: Parameters<Netlink['dumpSockets']>[1]['socket'] = (row) => {
      const end = (at: number, port: number): End => ({
        address: formatAddress(row.addresses.slice(at, at + (row.family === 4 ? 4 : 16))),
        port,
      })
      if (row.state === established)
        found.push({ local: end(row.localAt, row.localPort), remote: end(row.remoteAt, row.remotePort) })
    }
    await netlink.dumpSockets(find(name), { restart: () => void found.splice(0), socket }, signal)
    return found
  }

  async function connect(family: 'ipv4' | 'ipv6', count: number): Promise<void> {
    const { a, b } = topology
    const address = b[family]
    const listeners = [
      await topology.hold(b, 'tcp-listen', { address, port: 8001, backlog: count }),
      await topology.hold(b, 'tcp-listen', { address, port: 8002, backlog: count }),
    ]
    const { ready } = await topology.hold(a, 'tcp-connect', { address: service[family], port: 80, count })
    expect(ready).toEqual({ connected: count })
    for (const listener of listeners) expect(await listener.act('accept', { count: count / 2 })).toEqual({ accepted: count / 2 })
  }

  it.each(['ipv4', 'ipv6'] as const)('%s: each connection to a Service has the server it went to', async (family) => {
    addService(family, false)
    await connect(family, 200)
    const clients = await connectionsOf(topology.a.name)
    const servers = await connectionsOf(topology.b.name)
    expect(clients).toHaveLength(200)
    const serverByClientPort = new Map(servers.map(({ local, remote }) => [remote.port, local]))
    expect(await translations.find(clients, signal)).toEqual(clients.map(({ local }) => serverByClientPort.get(local.port)))
    expect(new Set(clients.map(({ local }) => serverByClientPort.get(local.port)?.port))).toEqual(new Set([8001, 8002]))
    // The servers see the clients as they are.
    expect(await translations.find(servers, signal)).toEqual(servers.map(() => undefined))
    expect(translations.missing()).toBeUndefined()
  })

  it.each(['ipv4', 'ipv6'] as const)('%s: each server has the client behind the masquerade', async (family) => {
    addService(family, true)
    await connect(family, 40)
    const clients = await connectionsOf(topology.a.name)
    const servers = await connectionsOf(topology.b.name)
    const behind = await translations.find(servers, signal)
    const byPort = (one: End | undefined, other: End | undefined): number => (one?.port ?? 0) - (other?.port ?? 0)
    expect([...behind].sort(byPort)).toEqual(clients.map(({ local }) => local).sort(byPort))
    const reached = await translations.find(clients, signal)
    // From the server's answer to the client, and back.
    servers.forEach(({ local }, i) => {
      expect(reached[clients.findIndex((client) => client.local.port === behind[i]?.port)]).toEqual(local)
    })
  })

  it('has nothing of what is not translated, not tracked, no address or a loopback address', async () => {
    addService('ipv4', false)
    await connect('ipv4', 2)
    const [client] = await connectionsOf(topology.a.name)
    const { local, remote } = client!
    const others: Connection[] = [
      { local, remote: { ...remote, port: 81 } },
      { local: { address: 'nobody', port: 1 }, remote },
      { local, remote: { address: '::1', port: 1 } },
      { local: { address: '127.0.0.1', port: local.port }, remote },
    ]
    expect(await translations.find([...others, client!], signal)).toEqual([...others.map(() => undefined), expect.anything()])
    const mapped = {
      local: { ...local, address: `::ffff:${local.address}` },
      remote: { ...remote, address: `::ffff:${remote.address}` },
    }
    expect(await translations.find([mapped], signal)).toEqual(await translations.find([client!], signal))
  })

  it('gives the loop back, and stops when told to', async () => {
    addService('ipv4', false)
    await connect('ipv4', 2)
    const [client] = await connectionsOf(topology.a.name)
    let turns = 0
    const turning = setInterval(() => turns++, 1)
    expect(await translations.find(Array(20_000).fill(client), signal)).toHaveLength(20_000)
    clearInterval(turning)
    expect(turns).toBeGreaterThan(1)
    await expect(translations.find([client!], AbortSignal.abort(new Error('told to stop')))).rejects.toThrow('told to stop')
  })
})
