import { expect, it } from 'vitest'
import { eachNamespace } from '../../../agent/sources/each-namespace.ts'
import type { Sink } from '../../../agent/sources/source.ts'
import { createFakeHost, netnsOf } from './fake-host.ts'

const [a, b, c] = ['a', 'b', 'c'].map(netnsOf)
const { host } = createFakeHost([a!, b!, c!])

function run(
  read: (name: string | undefined, isHost: boolean) => void,
  signal = new AbortController().signal,
): Promise<unknown[]> {
  const skipped: unknown[] = []
  const sink = { skip: (of: { netns: unknown }, reason: unknown) => void skipped.push([of.netns, reason]) }
  const all = eachNamespace(host, sink as unknown as Sink<never>, signal, ({ name }, isHost) => read(name, isHost))
  return all.then(() => skipped)
}

it('reads the host first, then the others', async () => {
  const read: unknown[] = []
  await run((...seen) => void read.push(seen))
  expect(read).toEqual([
    [undefined, true],
    ['a', false],
    ['b', false],
    ['c', false],
  ])
})

it('skips one that cannot be read, with the reason, and goes on', async () => {
  const failure = new Error('is gone')
  const read: unknown[] = []
  const skipped = await run((name) => {
    if (name === 'b') throw failure
    read.push(name)
  })
  expect(skipped).toEqual([[b, failure]])
  expect(read).toEqual([undefined, 'a', 'c'])
})

it('fails if the host cannot be read', async () => {
  await expect(
    run((_, isHost) => {
      if (isHost) throw new Error('no permission')
    }),
  ).rejects.toThrow('no permission')
})

it('does not call a namespace unreadable because it was told to stop', async () => {
  const stopped = new AbortController()
  const reading = run((name) => {
    if (name !== 'a') return
    stopped.abort(new Error('told to stop'))
    throw new Error('interrupted')
  }, stopped.signal)
  await expect(reading).rejects.toThrow('told to stop')
})
