import type { Host } from '../host/host.ts'
import type { NetworkNamespace } from '../host/namespaces.ts'
import { isTurnOver, nextTurn } from '../host/turn.ts'
import type { MetricName } from '../metrics/catalogue.ts'
import type { Sink } from './source.ts'

/** Reads one namespace after another. The host's must be readable, else the source fails; of the others one that cannot be read is skipped and the rest is intact. */
export async function eachNamespace<M extends MetricName>(
  host: Host,
  sink: Sink<M>,
  signal: AbortSignal,
  read: (netns: NetworkNamespace, isHost: boolean) => Promise<void> | void,
): Promise<void> {
  await read(host.namespaces.host, true)
  for (const netns of host.namespaces.list()) {
    if (isTurnOver()) await nextTurn(signal)
    try {
      await read(netns, false)
    } catch (error) {
      signal.throwIfAborted()
      sink.skip({ netns }, error instanceof Error ? error : String(error))
    }
  }
}
