import type { Machine } from './host/machine.ts'
import type { NameProvider } from './identity/identity.ts'
import { definitionOf, type MetricDefinition } from './metrics/catalogue.ts'
import type { Outcome, Snapshot } from './metrics/snapshot.ts'
import type { Need, Source } from './sources/source.ts'

export interface CheckedMetric {
  readonly name: string
  readonly help: string
  readonly outcome: Outcome
  readonly reason?: string
}

export interface CheckedSource {
  readonly name: string
  readonly outcome: Outcome
  readonly reason?: string
  readonly durationSeconds: number
  readonly needs: readonly Need[]
  /** All it can write; what is absent would be gained. */
  readonly metrics: readonly CheckedMetric[]
  /** What the numbers do not tell on this machine. */
  readonly caveats: readonly string[]
  /** Subjects that could not be read, and why; their last values are held. */
  readonly skipped: readonly { readonly subject: string; readonly reason: string }[]
}

export interface Node extends Machine {
  readonly name: string
}

/** What this machine can give, what it cannot, and why. Printed by `netvitals check`, answered at /api/v1/check. */
export interface CheckReport {
  readonly schemaVersion: 1
  readonly version: string
  readonly node: Node
  /** `failed` if a source or a place of names failed, else `absent` if anything is absent. */
  readonly outcome: Outcome
  readonly sources: readonly CheckedSource[]
  /** Sources that are switched off. */
  readonly off: readonly string[]
  /** Where names come from; none where there is no Kubernetes. */
  readonly names: readonly CheckedNames[]
}

export interface CheckedNames {
  readonly of: 'pods' | 'peers'
  readonly outcome: Outcome
  /** How many pods; they stay while no others come. */
  readonly known?: number
  readonly reason?: string
}

export interface CheckSubject {
  readonly version: string
  readonly node: Node
  readonly sources: readonly Source[]
  readonly off: readonly string[]
  readonly names?: ReadonlyMap<'pods' | 'peers', NameProvider>
  /** Metrics that are in no catalogue. */
  readonly declared?: ReadonlyMap<string, MetricDefinition>
}

export function createReport({ version, node, sources, off, names, declared }: CheckSubject, snapshot: Snapshot): CheckReport {
  const checked = sources.map((source): CheckedSource => {
    const report = snapshot.sources.find(({ name }) => name === source.name)
    const outcome = report?.outcome ?? 'absent'
    const reason = report === undefined ? 'not asked yet' : report.reason
    return {
      name: source.name,
      outcome,
      ...(reason !== undefined && { reason }),
      durationSeconds: (report?.durationMs ?? 0) / 1000,
      needs: source.needs,
      metrics: source.writes.map((name): CheckedMetric => {
        const { help } = declared?.get(name) ?? definitionOf(name)
        const absence = report?.absent.get(name)
        if (absence !== undefined) return { name, help, outcome: 'absent', reason: absence }
        return { name, help, outcome, ...(outcome !== 'ok' && reason !== undefined && { reason }) }
      }),
      caveats: report?.caveats ?? [],
      skipped: [...(report?.skipped ?? [])].map(([subject, why]) => ({ subject, reason: why })),
    }
  })
  const checkedNames = [...(names ?? [])].map(([of, { known, lastError, listedOnce }]): CheckedNames => {
    const common = { of, ...(known !== undefined && { known }) }
    if (lastError !== undefined) return { ...common, outcome: 'failed', reason: lastError }
    return listedOnce ? { ...common, outcome: 'ok' } : { ...common, outcome: 'absent', reason: 'none came yet' }
  })
  return { schemaVersion: 1, version, node, outcome: worst(checked, checkedNames), sources: checked, off, names: checkedNames }
}

function worst(sources: readonly CheckedSource[], names: readonly CheckedNames[]): Outcome {
  if ([...sources, ...names].some(({ outcome }) => outcome === 'failed')) return 'failed'
  return sources.some(({ metrics }) => metrics.some(({ outcome }) => outcome !== 'ok')) ? 'absent' : 'ok'
}

/** Of the names asked for, those this machine does not give, and why. */
export function findMissing(report: CheckReport, required: readonly string[]): readonly { name: string; reason: string }[] {
  const known = report.sources.flatMap((source) => [source, ...source.metrics])
  return required.flatMap((name) => {
    if (report.off.includes(name)) return [{ name, reason: 'switched off' }]
    const found = known.find((one) => one.name === name)
    if (found === undefined) return [{ name, reason: 'there is no such source or metric' }]
    return found.outcome === 'ok' ? [] : [{ name, reason: found.reason ?? found.outcome }]
  })
}
