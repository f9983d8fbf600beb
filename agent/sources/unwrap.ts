/** The kernel keeps some counters in 32 bits, often per CPU. They are carried on in full here: a wrap of one would otherwise let a sum fall by 2^32, which looks like a reset. */
export interface Unwrapper {
  /** The full value of the counter `key` that now reads `low` (0 to 2^32 − 1). */
  unwrap(key: string, low: number): number
  /** Forgets counters not read since the last call, so that what is gone does not pile up. */
  forgetUnread(): void
}

export function createUnwrapper(): Unwrapper {
  const counters = new Map<string, { low: number; high: number; read: boolean }>()
  return {
    unwrap(key, low) {
      const counter = counters.get(key) ?? { low, high: 0, read: true }
      counters.set(key, counter)
      // More than half the range backwards is a wrap; less is a counter that began anew, such as a qdisc replaced.
      if (low < counter.low) counter.high = counter.low - low > 2 ** 31 ? counter.high + 2 ** 32 : 0
      counter.low = low
      counter.read = true
      return counter.high + low
    },
    forgetUnread() {
      for (const [key, counter] of counters) {
        if (counter.read) counter.read = false
        else counters.delete(key)
      }
    },
  }
}

/** Totals of per-CPU counters of 32 bits. A CPU that went offline keeps its share, because its events did happen. */
export interface PerCpuTotals {
  set(cpu: number, field: string, low: number): void
  total(field: string): number
}

export function createPerCpuTotals(): PerCpuTotals {
  const unwrapper = createUnwrapper()
  const fields = new Map<string, Map<number, number>>()
  return {
    set(cpu, field, low) {
      let cpus = fields.get(field)
      if (cpus === undefined) fields.set(field, (cpus = new Map()))
      cpus.set(cpu, unwrapper.unwrap(`${cpu} ${field}`, low))
    },
    total(field) {
      let sum = 0
      for (const value of fields.get(field)?.values() ?? []) sum += value
      return sum
    },
  }
}
