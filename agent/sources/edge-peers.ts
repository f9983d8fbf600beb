import { parseAddress } from '../../parsers/address.ts'
import type { Host } from '../host/host.ts'
import { limits } from '../limits.ts'
import type { EdgeRecord } from './edge-records.ts'

/** Who the other end of a connection really is, where addresses are translated on the way, as those of Services are. */
export interface EdgePeers {
  /** Asks for those that have not been asked for. Some may have to wait: they are not to be told yet. */
  ask(records: readonly EdgeRecord[], signal: AbortSignal): Promise<void>
  isKnown(record: EdgeRecord): boolean
  addressOf(record: EdgeRecord): string
  /** Who was found last behind what a client calls by this address; the address itself, if it is not translated. */
  answererOf(address: string): string
}

type Asking = Pick<Host, 'translations' | 'tracer'>

/**
 * A connection is asked for by both its ports, which the kernel's counters do not tell apart. So one connection to an address
 * is asked for, and if it went elsewhere the kernel is told to keep those that follow to that address apart: each may go to
 * another workload.
 */
export function createEdgePeers(host: Asking): EdgePeers {
  /** Undefined: what the socket says is true. */
  const answerers = new WeakMap<EdgeRecord, string | undefined>()
  /** Addresses known to be translated, and who was found last behind those that clients call. */
  const translated = new Map<string, string | undefined>()
  /** Of those, what is called so often that its connections cannot be kept apart. */
  const crowded = new Set<string>()

  function keepApart({ sample, role }: EdgeRecord, answerer: string): void {
    const { address } = sample!.remote
    const isNew = !translated.has(address)
    if (isNew && translated.size >= limits.tracerTranslatedAddresses) return
    // Behind an address that servers see, such as a node's, may be that node itself too.
    if (role === 'client' || isNew) translated.set(address, role === 'client' ? answerer : undefined)
    if (isNew && !crowded.has(address)) host.tracer.setTranslated(parseAddress(address), true)
  }

  /** A client that calls thousands of times between two sweeps would leave no room for others. */
  function findCrowds(records: readonly EdgeRecord[]): void {
    const counts = new Map<string, number>()
    for (const record of records) {
      const { isSingle, remote, isInKernel } = record
      if (!isSingle || !isInKernel || !translated.has(remote.address)) continue
      const count = (counts.get(remote.address) ?? 0) + 1
      counts.set(remote.address, count)
      if (count <= limits.edgeSingles || crowded.has(remote.address)) continue
      crowded.add(remote.address)
      host.tracer.setTranslated(parseAddress(remote.address), false)
    }
  }

  const answererOf = (address: string): string => translated.get(address) ?? address

  return {
    async ask(records, signal) {
      findCrowds(records)
      const asked: EdgeRecord[] = []
      for (const record of records) {
        if (asked.length === limits.edgeQuestions) break
        if (record.sample !== undefined && !answerers.has(record)) asked.push(record)
      }
      if (asked.length === 0) return
      const found = await host.translations.find(
        asked.map(({ sample }) => sample!),
        signal,
      )
      asked.forEach((record, i) => {
        const answerer = found[i]?.address
        answerers.set(record, speaksForAll(record) ? answerer : undefined)
        if (answerer !== undefined) keepApart(record, answerer)
      })
    },
    isKnown: (record) => !record.isSingle || answerers.has(record),
    addressOf(record) {
      const { role, remote } = record
      return answerers.get(record) ?? (role === 'client' ? answererOf(remote.address) : remote.address)
    },
    answererOf,
  }
}

/** Whether what is behind one of its connections is behind all of them: not where they are from or to many addresses. */
function speaksForAll({ isSingle, role, remote }: EdgeRecord): boolean {
  return isSingle || (role === 'client' && remote.address !== '::')
}
