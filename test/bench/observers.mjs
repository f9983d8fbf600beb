// Who may watch while something happens in the kernel, and how their cost is compared. Each observer begins to observe
// when called and returns how to end it; the end returns how many events it counted in all, if it counts.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { mapNames } from '../../dist/agent/host/traced-maps.js'
import { createTracer } from '../../dist/agent/host/tracer.js'
import { limits } from '../../dist/agent/limits.js'
import { readBpfObjects, timePrograms } from './bpf-objects.mjs'
import { median, own, printRow, sleep, stop } from './process.mjs'

export const nobody = async () => async () => undefined

/** The tracer with some of its maps, or all; `count` reads how many events it saw. `events`: it shows single ones too. */
export function netvitalsWith(maps, count, { events = false } = {}) {
  return async () => {
    const tracer = await startTracer(maps, events)
    const showing = setInterval(() => {
      tracer.events?.take()
      tracer.events?.grant((limits.eventsPerSecond * limits.eventsIntervalMs) / 1000, limits.eventsPerSecond)
    }, limits.eventsIntervalMs)
    return async () => {
      clearInterval(showing)
      const seen = count(tracer)
      await tracer.stop()
      return seen
    }
  }
}

async function startTracer(maps = mapNames, events = false) {
  const tracer = createTracer({ off: mapNames.filter((name) => !maps.includes(name)), tasks: false, events })
  await tracer.start()
  for (const name of maps) {
    const missing = tracer.missing(name)
    if (missing !== undefined) throw new Error(`the tracer does not give ${name}: ${missing}`)
  }
  return tracer
}

/** The sum of the first values of a map's entries of one namespace. */
export function countIn(namespace, map, firstValues = 1) {
  return (tracer) => {
    const { ino } = fs.statSync(`/run/netns/${namespace}`)
    let seen = 0
    tracer.read(map, (key, values) => {
      if (key.getUint32(0, true) === ino) for (const value of values.subarray(0, firstValues)) seen += value
    })
    return seen
  }
}

/** `counts`: a map of counts, which it prints at its end. Otherwise its output goes nowhere. */
export function bpftraceWith(program, { counts } = {}) {
  return async () => {
    const withTracefs = 'test -e /sys/kernel/tracing/events || mount -t tracefs none /sys/kernel/tracing; exec bpftrace -e "$0"'
    const stdio = ['ignore', counts ? 'pipe' : 'ignore', 'pipe'] // ignored is /dev/null
    const child = own(spawn('unshare', ['--mount', 'sh', '-c', withTracefs, program], { stdio }))
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => (output += chunk))
    const exit = once(child, 'exit')
    await sleep(2500) // it does not say when it is attached
    return async () => {
      if (child.exitCode !== null) throw new Error(`bpftrace ended: ${output}`)
      child.kill('SIGINT')
      await Promise.race([exit, sleep(10_000)])
      await stop(child)
      if (!counts) return undefined
      const lines = [...output.matchAll(/^@(\w*)\[.*\]: (\d+)$/gm)].filter(([, name]) => name === counts.name)
      return lines.reduce((sum, [, , count]) => sum + Number(count), 0)
    }
  }
}

export function hasBpftrace() {
  const isThere = spawnSync('bpftrace', ['--version']).status === 0
  if (!isThere) console.error('bpftrace is not installed: not compared with it')
  return isThere
}

/**
 * In each round every observer once, each time in another order. Under its eyes `cause` makes some events and tells how
 * many nanoseconds each took; `around` prepares each such turn. Who counts must have seen all of them. Prints a row for each.
 */
export async function compareObservers({ what, observers, rounds, cause, causedPerTurn, around = (turn) => turn() }) {
  const names = Object.keys(observers)
  const nsOf = new Map(names.map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [i] of names.entries()) {
      const name = names[(i + round) % names.length]
      await around(async () => {
        const end = await observers[name]()
        let seen
        let ns
        try {
          ns = await cause()
        } finally {
          seen = await end()
        }
        if (seen !== undefined && seen < causedPerTurn) throw new Error(`${name} saw ${seen} of ${causedPerTurn}`)
        nsOf.get(name).push(ns)
      })
    }
  }
  const alone = nsOf.get('nobody')
  for (const [name, all] of nsOf) {
    const range = (values) =>
      `median ${median(values).toFixed(0)} ns (${Math.min(...values).toFixed(0)} to ${Math.max(...values).toFixed(0)} over ${rounds} rounds)`
    const added = all.map((ns, round) => ns - alone[round])
    const addedToFastest = Math.min(...all) - Math.min(...alone)
    printRow(
      `${what}, observed by ${name}`,
      name === 'nobody' ? range(all) : `+ ${range(added)}; between the fastest + ${addedToFastest.toFixed(0)} ns`,
    )
  }
}

/** What the kernel itself says of the tracer's programs that ran: apart from the comparison, because its clock costs time too. */
export async function printKernelClock({ what, cause, causedPerTurn }) {
  const tracer = await startTracer()
  try {
    const stopTiming = timePrograms()
    await cause()
    const ran = readBpfObjects().program.filter(({ runs }) => runs > causedPerTurn / 10)
    stopTiming()
    const cells = ran.map(
      ({ name, runs, runTimeNs }) => `${name} ${(runTimeNs / runs).toFixed(0)} ns, ${(runs / causedPerTurn).toFixed(2)} times`,
    )
    printRow(`${what}, netvitals by the kernel's own clock`, cells.join('; '))
  } finally {
    await tracer.stop()
  }
}
