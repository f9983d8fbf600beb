import type { Capture } from '../host/capture.ts'
import type { MetricName } from '../metrics/catalogue.ts'
import type { Need, Out, Sink } from './source.ts'

/** What every capture of packets needs. */
export const captureNeeds: readonly Need[] = [{ library: 'libpcap.so' }, { capability: 'CAP_NET_RAW' }]

/** Whether there are no packets to count: then the metrics are absent, with the reason. Throws if it is a fault. */
export function isWithoutPackets<M extends MetricName>(
  missing: ReturnType<Capture['missing']>,
  sink: Pick<Sink<M>, 'absent'>,
  metrics: readonly M[],
): boolean {
  if (missing === undefined) return false
  if (missing.isFault) throw new Error(missing.reason)
  for (const metric of metrics) sink.absent(metric, missing.reason)
  return true
}

/** Hands on how many single events of the kind are not shown. */
export function tellNotShown(capture: Capture, kind: 'dns' | 'http', signal: AbortSignal, out: Out): void {
  capture.onNotShown((of, count, isTrouble) => {
    if (of === kind && !signal.aborted) out.notShown(of, count, Date.now(), !isTrouble)
  })
}
