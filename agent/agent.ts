import fs from 'node:fs'
import os from 'node:os'
import type { CaptureSettings } from './capture/report.ts'
import { type CheckReport, createReport, type Node } from './check.ts'
import { type Config, defaultSocket, readVersion } from './config.ts'
import { ConfigError } from './config-file.ts'
import { createEvents, type Events } from './events.ts'
import { createHistory } from './history.ts'
import { createHost, type Host } from './host/host.ts'
import { readNodeName } from './host/machine.ts'
import type { ToolSettings, ToolSignal } from './host/tools.ts'
import { mapNames } from './host/traced-maps.ts'
import { createSecurity } from './http/security.ts'
import { createHttpServer, type HttpServer } from './http/server.ts'
import { ListenError } from './http/socket.ts'
import { createIdentity, type Identity } from './identity/identity.ts'
import { openPeerNames, openPodNames, type PodNameSettings, untilListed } from './identity/names.ts'
import { createNetworks } from './identity/networks.ts'
import type { Peers } from './identity/peers.ts'
import type { PodDirectory } from './identity/pod-directory.ts'
import { limits } from './limits.ts'
import type { Log } from './log.ts'
import { createSelf, type Self } from './metrics/self.ts'
import type { Snapshot } from './metrics/snapshot.ts'
import { defineUserMetric, userMetricName } from './metrics/user-metrics.ts'
import { createSeriesStore } from './series.ts'
import { createSocketList, type SocketList } from './socket-list.ts'
import { createSources, mapsReadBy, sourcesOfTools } from './sources/index.ts'
import type { Source } from './sources/source.ts'
import { createSweep, type Sweep } from './sweep.ts'

/** Where a running agent answers. */
export interface Endpoints {
  readonly url: string
  readonly socket: { readonly file: string } | { readonly missing: string }
}

export interface Agent {
  readonly sweep: Sweep
  readonly self: Self
  readonly events: Events
  readonly sockets: SocketList
  readonly identity: Identity
  /** Takes the long-lived things that sources need: from now on events are counted. */
  start(): Promise<void>
  /** Of the newest sweep, or a new one. */
  check(): Promise<CheckReport>
  /** Answers HTTP, starts, and sweeps from now on even if nobody asks. @throws ConfigError, ListenError */
  serve(): Promise<Endpoints>
  /** Ends all that was begun; answers under way come first. */
  stop(): Promise<void>
}

/** Instead of this machine. */
export interface AgentParts {
  readonly host: Host
  readonly sources: readonly Source[]
  /** Where the names of pods come from. */
  readonly pods?: PodDirectory | undefined
  readonly peers?: Peers | undefined
}

/** Builds everything and wires it. @throws ConfigError */
export async function createAgent(config: Config, log: Log, parts?: AgentParts): Promise<Agent> {
  const { root } = config
  if (!fs.existsSync(root)) throw new ConfigError(`--root ${root}: there is no such directory`)
  const version = readVersion()
  const off = config['sources.off']
  const { host, sources, pods, peers } = parts ?? (await readMachine(config, log))
  const declared = new Map(
    config.scripts.flatMap(({ file, maps }) =>
      Object.entries(maps).map(([name, map]) => [userMetricName(name, map.type), defineUserMetric(map, file)] as const),
    ),
  )
  const history = createHistory()
  const self = createSelf()
  const identity = createIdentity({
    host,
    pods,
    peers,
    networks: createNetworks(config['identity.networks'], 'identity.networks'),
  })
  const events = createEvents(identity)
  const sockets = createSocketList(host, identity, readNodeName(config))
  const lostByReaders = (): number => http?.lostEvents() ?? 0
  const sweep = createSweep({ sources, identity, store: createSeriesStore(history, declared), history, self, lostByReaders, log })
  const machine = await host.machine()
  const node: Node = { name: readNodeName(config), ...machine }
  self.set('netvitals_build_info', { version, runtime: process.version }, 1)
  self.set('netvitals_node_info', { ...machine }, 1)

  const stopped = new AbortController()
  let http: HttpServer | undefined
  const report = (snapshot: Snapshot): CheckReport =>
    createReport({ version, node, sources, off, names: identity.providers(), declared }, snapshot)

  /** One that cannot start says why when it is asked for its values. */
  async function startSource(source: Source): Promise<void> {
    try {
      await source.start?.(stopped.signal, events)
    } catch (error) {
      log.info({ source: source.name, reason: (error as Error).message }, 'source did not start')
    }
  }

  async function start(): Promise<void> {
    await host.start()
    await host.addresses.refresh(stopped.signal).catch(() => undefined) // the first sweep says why
    host.edgeAddresses.setOwn(host.addresses.all().keys())
    await Promise.all([startNames(pods), startNames(peers)])
    if (pods !== undefined) onSettled(pods, () => void identity.refresh(performance.now()).catch(() => undefined)) // the next sweep says why
    host.edgeAddresses.addNetworks(config['identity.networks'].flatMap(({ cidrs }) => cidrs))
    if (peers !== undefined) followServices(peers)
    await Promise.all(sources.map(startSource))
  }

  /** Waits for the first names, but not long: they may come later. */
  async function startNames(names: PodDirectory | Peers | undefined): Promise<void> {
    if (names === undefined) return
    void names.start(stopped.signal)
    await untilListed(names, stopped.signal)
  }

  function followServices(names: Peers): void {
    const follow = (): void => host.edgeAddresses.setServices(names.serviceAddresses())
    follow()
    onSettled(names, follow)
  }

  /** What changes together is looked at together. */
  function onSettled(names: Pick<Peers, 'onChange'>, act: () => void): void {
    let isWaiting = false
    names.onChange(() => {
      if (isWaiting) return
      isWaiting = true
      setTimeout(() => {
        isWaiting = false
        if (!stopped.signal.aborted) act()
      }, limits.namesSettleMs).unref()
    })
  }

  async function listenOnSocket(server: HttpServer, file: string): Promise<Endpoints['socket']> {
    if (file === '') return { missing: 'switched off' }
    try {
      await server.listenOnSocket(file)
      return { file }
    } catch (error) {
      const isWithoutPrivileges = error instanceof ListenError && error.cause !== undefined && file === defaultSocket
      if (!isWithoutPrivileges) throw error
      log.info({ reason: error.message }, 'no socket for commands on this machine')
      return { missing: error.message }
    }
  }

  return {
    sweep,
    self,
    events,
    sockets,
    identity,
    start,
    check: async () => report(await sweep.take()),
    async serve() {
      const security = createSecurity(config['web.config.file'], log)
      const zeroWindow = config['web.new-series-zero-seconds']
      http = createHttpServer(
        { sweep, history, events, sockets, self, node, report, zeroWindow, log, now: () => performance.now() },
        security,
      )
      const url = await http.listen(config['web.listen-address'])
      const socket = await listenOnSocket(http, config['web.socket'])
      await start()
      await sweep.take()
      sweep.start()
      return { url, socket }
    },
    async stop() {
      await http?.stop()
      await sweep.stop()
      stopped.abort(new Error('the agent stops'))
      const ends = await Promise.allSettled([...sources.map((source) => source.stop?.()), host.stop()])
      for (const end of ends) if (end.status === 'rejected') log.warn({ reason: String(end.reason) }, 'did not stop well')
    },
  }
}

async function readMachine(config: Config, log: Log): Promise<AgentParts> {
  const { root } = config
  if (measuresNothing(config)) return nameMachine(config, log)
  const off = config['sources.off']
  const tools = readToolSettings(config)
  const toldByTools = (Object.keys(tools) as ToolSignal[]).map((signal) => sourcesOfTools[signal])
  const host = await createHost({
    root,
    tracer: root === '/',
    untraced: mapsReadBy([...off, ...toldByTools]),
    tools,
    scripts: config.scripts.map(({ file, maps }) => ({
      file,
      maps: Object.entries(maps).map(([name, { type }]) => ({ name, reads: type === 'gauge' ? 'keep' : 'flip' })),
    })),
    events: !off.includes('trace-events'),
    capture: readCaptureSettings(config),
    log,
  })
  return { host, sources: switchOff(createSources(host, config.scripts), off), ...openNames(config, host, log) }
}

function readCaptureSettings(config: Config): CaptureSettings | undefined {
  const off = config['sources.off']
  const dnsPorts = off.includes('pcap-dns') ? [] : config['capture.dns-ports']
  const httpPorts = off.includes('pcap-http') ? [] : config['capture.http-ports']
  if (dnsPorts.length + httpPorts.length === 0) return undefined
  return { device: 'any', dnsPorts, httpPorts }
}

const measuresNothing = ({ command, pcap }: Config): boolean =>
  command === 'show sockets' || (command === 'record' && pcap !== '')

/** Only what finds and names the network namespaces. */
async function nameMachine(config: Config, log: Log): Promise<AgentParts> {
  const host = await createHost({ root: config.root, tracer: true, untraced: mapNames, log })
  return { host, sources: [], ...openNames(config, host, log) }
}

function openNames(config: Config, { files }: Host, log: Log): Pick<AgentParts, 'pods' | 'peers'> {
  if (config.root !== '/') return {}
  const pods = openPodNames(readPodNameSettings(config), files, log)
  return { pods, peers: openPeerNames(config['identity.peers'], config.apiServer, pods, files, log) }
}

function readPodNameSettings(config: Config): PodNameSettings {
  return {
    source: config['identity.pods'],
    file: config['identity.pods-file'],
    node: config['kubernetes.node'] || os.hostname().toLowerCase(),
    apiServer: config.apiServer,
    kubelet: { ...config['kubernetes.kubelet'], verify: config['kubernetes.kubelet-verify'] === 'on' },
  }
}

/** What is opened the kernel counts by itself: of that only recordings tell. */
const settableSignals = ['retransmits', 'drops', 'connects'] as const

function readToolSettings(config: Config): ToolSettings {
  const settings: { [S in ToolSignal]?: ToolSettings[S] } = {}
  for (const signal of settableSignals) {
    const [command, file] = [config[`tools.${signal}.command`], config[`tools.${signal}.file`]]
    if (command.length > 0 && file !== '')
      throw new ConfigError(`tools.${signal}: there are both command and file; ${signal} can be told by one of them`)
    if (command.length > 0) settings[signal] = { command }
    else if (file !== '') settings[signal] = { file }
  }
  return settings
}

function switchOff(sources: readonly Source[], off: readonly string[]): readonly Source[] {
  const names = sources.map(({ name }) => name)
  const unknown = off.find((name) => !names.includes(name))
  if (unknown !== undefined) throw new ConfigError(`sources.off: ${unknown} is no source; there are ${names.join(', ')}`)
  return sources.filter(({ name }) => !off.includes(name))
}
