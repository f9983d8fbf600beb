import { renderExposition } from '../agent/metrics/render.ts'
import type { Snapshot } from '../agent/metrics/snapshot.ts'
import { startWiring } from './wiring.ts'

/** One sweep of a recorded tree: what `netvitals sweep --root` prints, and the snapshot behind it. */
export async function sweepTree(root: string): Promise<{ text: string; snapshot: Snapshot }> {
  const wiring = await startWiring({ root, tracer: false })
  try {
    const snapshot = await wiring.sweep()
    return { text: renderExposition([...snapshot.families, ...(await wiring.self.families())], 'text'), snapshot }
  } finally {
    await wiring.stop()
  }
}
