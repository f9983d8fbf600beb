import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { EventMessage, NetworkEvent } from '../../agent/events.ts'
import { requireRoot, slowness } from '../truth/topology.ts'

const main = path.resolve(import.meta.dirname, '../../dist/agent/main.js')
const resolver = path.resolve(import.meta.dirname, 'dns-resolver.mjs')
const namespace = 'nve-observe-dns'

/** The namespace plays the node: what its packets tell is of the host. */
requireRoot('observe --dns', () => {
  const children: ChildProcess[] = []
  let asker: ChildProcess

  function start(...command: string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', namespace, process.execPath, ...command], { stdio: ['pipe', 'pipe', 'ignore'] })
    children.push(child)
    return child
  }

  /** What one `observe` prints, of DNS. */
  function observe(...flags: string[]): NetworkEvent[] {
    const events: NetworkEvent[] = []
    const child = start(main, 'observe', '--follow', '-o', 'json', '--web.socket=', ...flags)
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const message = JSON.parse(line) as EventMessage
      if (message.type === 'dns') events.push(message)
    })
    return events
  }
  const ask = (...names: string[]): void => void asker.stdin?.write(names.map((name) => `${name}\n`).join(''))

  beforeAll(async () => {
    removeNamespace()
    execFileSync('ip', ['netns', 'add', namespace])
    execFileSync('ip', ['-n', namespace, 'link', 'set', 'lo', 'up'])
    asker = start(resolver)
    await once(asker.stdout!, 'data')
  })
  afterAll(async () => {
    await Promise.all(
      children.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return
        child.kill('SIGTERM')
        await once(child, 'close')
      }),
    )
    removeNamespace()
  })

  it('shows every query once, and without it only what may be worth a look', async () => {
    const asked = observe('--dns')
    const plain = observe()
    const named = observe('--name', '*.exact.test', '--not', '--rcode', 'NOERROR,unanswered')
    const namesOf = (events: NetworkEvent[]): string[] => events.map(({ dns }) => dns!.name)
    const isWatching = (): boolean => {
      ask('gone.early.test', 'gone.exact.test')
      return [asked, plain, named].every((events) => events.length > 0)
    }
    await expect.poll(isWatching, { timeout: 20_000 * slowness, interval: 200 }).toBe(true)

    ask('Fine.One.test', 'gone.one.test', 'silent.one.test', 'fine.two.test', 'gone.exact.test', 'gone.last.test')
    const unanswered = (events: NetworkEvent[]): boolean => namesOf(events).includes('silent.one.test')
    await expect.poll(() => [asked, plain].every(unanswered), { timeout: 15_000 * slowness, interval: 100 }).toBe(true)

    const late = (events: NetworkEvent[]): string[] =>
      namesOf(events).filter((name) => name !== 'gone.early.test' && name !== 'gone.exact.test')
    expect(late(asked)).toEqual(['fine.one.test', 'gone.one.test', 'fine.two.test', 'gone.last.test', 'silent.one.test'])
    expect(late(plain)).toEqual(['gone.one.test', 'gone.last.test', 'silent.one.test'])
    expect(new Set(namesOf(named))).toEqual(new Set(['gone.exact.test']))

    const host = { namespace: '', pod: '', address: '127.0.0.1' }
    const server = { address: '127.0.0.1', port: 53 }
    expect(asked.find(({ dns }) => dns?.name === 'fine.one.test')).toMatchObject({
      routine: true,
      source: host,
      destination: server,
      protocol: 'udp',
      dns: { queryType: 'A', responseCode: 'NOERROR', addressCount: 1 },
    })
    const silent = plain.find(({ dns }) => dns?.name === 'silent.one.test')
    expect(silent).toMatchObject({ source: host, destination: server, dns: { queryType: 'A' } })
    expect(Object.keys(silent?.dns ?? {}).sort()).toEqual(['id', 'name', 'queryType'])
  })
})

function removeNamespace(): void {
  try {
    execFileSync('ip', ['netns', 'del', namespace], { stdio: 'ignore' })
  } catch {
    // there was none
  }
}
