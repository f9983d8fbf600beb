import { createAgent } from '../agent.ts'
import type { Config } from '../config.ts'
import { ConfigError } from '../config-file.ts'
import { isLetThrough, isNamed } from '../filter.ts'
import { type PcapFileEnd, type PcapFileTotals, recordPcap } from '../host/record-pcap.ts'
import type { Identity, Row } from '../identity/identity.ts'
import { limits } from '../limits.ts'
import { createLog, type Log } from '../log.ts'
import type { Terminal } from './terminal.ts'

/** Writes packets into a file, bounded, and says how many, and why it ended. Exit status 1 if that is not possible. */
export async function recordPackets(config: Config, terminal: Terminal): Promise<number> {
  const ended = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT']) process.once(name, () => ended.abort())
  const log = createLog(config['log.level'])
  const ownerFilter = await findOwners(config, log)
  const duration = config.for === 'auto' ? limits.recordPcapSeconds : config.for
  const settings = {
    file: config.pcap,
    isForced: config['pcap.force'],
    device: 'any',
    ownerFilter,
    filter: config['pcap.filter'],
    snapBytes: config['pcap.snap'],
    bytesMax: config['pcap.bytes'],
    packetsMax: config['pcap.packets'],
    durationMs: Number.isFinite(duration) ? duration * 1000 : null,
  }
  try {
    const { end, totals } = await recordPcap({ settings, signal: ended.signal, onTotals: showProgress, log })
    clearProgress()
    for (const line of describe(config, end, totals)) terminal.warn(line)
    return 0
  } catch (error) {
    clearProgress()
    terminal.warn((error as Error).message)
    return 1
  }
}

/** Whose packets, in the words of pcap-filter(7). Empty: everybody's. @throws ConfigError if there is nobody of the name */
async function findOwners(config: Config, log: Log): Promise<string> {
  const choice = config['pcap.pod']
  if (choice.only.length + choice.not.length === 0) return ''
  const agent = await createAgent(config, log)
  try {
    await agent.start()
    await agent.sweep.take() // finds and names the network namespaces
    const isWanted = ({ namespace, pod }: Row): boolean => isLetThrough(choice, (pattern) => isNamed(pattern, { namespace, pod }))
    const { identity } = agent
    const rows = identity.rows().filter((row) => row.departedAtMs === undefined && isWanted(row))
    const addresses = [...identity.addresses()].filter(([, row]) => rows.includes(row)).map(([address]) => address)
    const isHost = rows.some((row) => row.isHost)
    if (addresses.length === 0 && !isHost) throw new ConfigError(describeNobody(identity, rows, config))
    if (addresses.length > limits.recordPcapAddresses)
      throw new ConfigError(
        `--pod: these have ${addresses.length} addresses; at most ${limits.recordPcapAddresses} can be told apart in the kernel`,
      )
    return [...addresses.map((address) => `host ${address}`), ...(isHost ? ['net 127.0.0.0/8', 'host ::1'] : [])].join(' or ')
  } finally {
    await agent.stop()
  }
}

const namesShown = 10

function describeNobody(identity: Identity, rows: readonly Row[], { 'pcap.pod': choice }: Config): string {
  const ofHost = identity
    .hostPods()
    .find(({ namespace, name }) => isLetThrough(choice, (one) => isNamed(one, { namespace, pod: name })))
  if (ofHost !== undefined) return `--pod: ${ofHost.namespace}/${ofHost.name} has the host's network; --pod host records that`
  if (rows.length > 0) return `--pod: nobody but ${nameOf(rows[0]!)} fits, which has no address that others do not have`
  const names = identity.rows().flatMap((row) => (row.departedAtMs === undefined ? [nameOf(row)] : []))
  const more = names.length > namesShown ? `, and ${names.length - namesShown} more` : ''
  return `--pod: there is nobody of this name; there are ${names.sort().slice(0, namesShown).join(', ')}${more}`
}

const nameOf = ({ isHost, namespace, pod }: Row): string => (isHost ? 'host' : `${namespace}/${pod}`)

const count = (number: number, what: string): string => `${number.toLocaleString('en')} ${what}${number === 1 ? '' : 's'}`

function showProgress({ packets, bytes, lost }: PcapFileTotals): void {
  if (!process.stderr.isTTY) return
  process.stderr.write(`\r\u001b[K${count(packets, 'packet')}, ${count(bytes, 'byte')}, ${lost.toLocaleString('en')} lost`)
}
function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
}

const ends: Readonly<Record<PcapFileEnd, string>> = {
  stopped: 'it was told to end',
  duration: 'the time of --for is over',
  bytes: 'more would exceed --pcap.bytes',
  packets: 'there are as many as --pcap.packets',
}

function describe(config: Config, end: PcapFileEnd, { packets, bytes, cut, sightings, lost }: PcapFileTotals): string[] {
  return [
    `${count(packets, 'packet')} in ${config.pcap}, ${count(bytes, 'byte')}: ${ends[end]}`,
    ...(cut > 0 ? [`${count(cut, 'packet')} cut off at ${config['pcap.snap']} bytes; --snap 0 keeps them whole`] : []),
    ...(sightings > 0
      ? [
          `${count(sightings, 'further sighting')} of them at other devices left out; where an address is translated, both are there`,
        ]
      : []),
    ...(lost > 0 ? [`${count(lost, 'packet')} lost: the kernel had no room for them`] : []),
  ]
}
