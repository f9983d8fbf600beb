import { formatAddress, isLoopback, unmapAddress } from '../../parsers/address.ts'
import { type ConntrackEntry, conntrackEntryRequest, createConntrackReader } from '../../parsers/ctnetlink.ts'
import type { NetlinkRequest } from '../../parsers/netlink.ts'
import { NotFound } from './errors.ts'
import type { Files } from './files.ts'
import type { LoadedLibc } from './libc.ts'
import type { Namespaces } from './namespaces.ts'
import { isNetlinkRefused, type Netlink, NetlinkError, NetlinkUnavailable } from './netlink.ts'

export interface End {
  /** `10.0.0.1` or `2001:db8::1` */
  readonly address: string
  readonly port: number
}

/** A TCP connection as one of its sockets has it. */
export interface Connection {
  readonly local: End
  readonly remote: End
}

/** Who is really at the other end of connections whose addresses were translated, as the host's conntrack table has it. */
export interface Translations {
  /**
   * In the order of the connections: of a client's the server behind a Service's address, of a server's the client behind
   * the address that masquerading gave it. Undefined: not translated in the host's namespace, or not in its table (any more;
   * it remembers a connection 10 s after a reset, two minutes after other ends). What it is stays so while the connection
   * lives: remember it, because asking takes 10 us. A dump of the table takes 2 us an entry: it would win only where more
   * than a fifth of the table is asked for at once.
   *
   * Rejects with the signal's reason, and with the NetlinkError or ParseError of a kernel that misbehaves.
   */
  find(connections: readonly Connection[], signal: AbortSignal): Promise<readonly (End | undefined)[]>
  /** Why nothing could be told when last asked, in words. */
  missing(): string | undefined
}

interface TranslationsParts {
  readonly namespaces: Namespaces
  readonly netlink: Netlink
  readonly files: Files
  readonly libc: LoadedLibc
}

const AF_INET = 2
const AF_INET6 = 10
const countFile = '/proc/sys/net/netfilter/nf_conntrack_count'

export function createTranslations({ namespaces, netlink, files, libc: loaded }: TranslationsParts): Translations {
  let missing: string | undefined

  function parse(text: string): Uint8Array | undefined {
    const address = unmapAddress(text)
    const isIpv6 = address.includes(':')
    const bytes = new Uint8Array(isIpv6 ? 16 : 4)
    return loaded.libc?.parseAddress(isIpv6 ? AF_INET6 : AF_INET, address, bytes) === 1 ? bytes : undefined
  }

  function toRequest({ local, remote }: Connection): NetlinkRequest | undefined {
    const [source, destination] = [parse(local.address), parse(remote.address)]
    // Every namespace has loopback addresses of its own: what the host's table says of one need not be about this one.
    if (source === undefined || destination === undefined || source.length !== destination.length || isLoopback(source))
      return undefined
    return conntrackEntryRequest(source, destination, local.port, remote.port)
  }

  async function ask(connections: readonly Connection[], signal: AbortSignal): Promise<(End | undefined)[]> {
    const found: (End | undefined)[] = connections.map(() => undefined)
    let at = 0
    function* questions(): Generator<NetlinkRequest> {
      for (at = 0; at < connections.length; at++) {
        const request = toRequest(connections[at]!)
        if (request !== undefined) yield request
      }
    }
    const read = createConntrackReader((entry) => {
      found[at] = readTranslation(entry, connections[at]!)
    })
    await netlink.find(namespaces.host, questions(), read, signal)
    return found
  }

  return {
    async find(connections, signal) {
      try {
        if (loaded.libc === undefined) throw new NetlinkUnavailable('conntrack-entry', loaded.missing)
        files.read(countFile) // without connection tracking the question would switch it on
        const found = await ask(connections, signal)
        missing = undefined
        return found
      } catch (error) {
        missing = explain(error)
        if (missing === undefined) throw error
        return connections.map(() => undefined)
      }
    },
    missing: () => missing,
  }
}

/** Undefined: an error like any other. */
function explain(error: unknown): string | undefined {
  if (error instanceof NotFound) return 'connection tracking is not loaded'
  if (!isNetlinkRefused(error)) return undefined
  return error instanceof NetlinkError ? 'needs CAP_NET_ADMIN' : error.message
}

/** The kernel finds an entry by either of its tuples: the other tuple's source is who answers. */
function readTranslation(entry: ConntrackEntry, { local, remote }: Connection): End | undefined {
  const { original, reply } = entry
  const isOriginal =
    original.sourcePort === local.port &&
    original.destinationPort === remote.port &&
    addressAt(entry, original.sourceAt) === unmapAddress(local.address) &&
    addressAt(entry, original.destinationAt) === unmapAddress(remote.address)
  const other = isOriginal ? reply : original
  const end = { address: addressAt(entry, other.sourceAt), port: other.sourcePort }
  return end.address === unmapAddress(remote.address) && end.port === remote.port ? undefined : end
}

function addressAt({ addresses, family }: ConntrackEntry, at: number): string {
  return formatAddress(addresses.subarray(at, at + (family === 4 ? 4 : 16)))
}
