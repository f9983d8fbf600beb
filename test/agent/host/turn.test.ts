import { expect, it } from 'vitest'
import { isTurnOver, nextTurn } from '../../../agent/host/turn.ts'
import { limits } from '../../../agent/limits.ts'

const { signal } = new AbortController()

function work(forMs: number): void {
  for (const untilMs = performance.now() + forMs; performance.now() < untilMs; );
}

it('shares each turn of the loop among all readers', async () => {
  await nextTurn(signal)
  let pieces = 0
  let mostPieces = 0
  let running = true
  const watch = (): void => {
    mostPieces = Math.max(mostPieces, pieces)
    pieces = 0
    if (running) setImmediate(watch)
  }
  setImmediate(watch)
  const read = async (): Promise<void> => {
    for (let i = 0; i < 20; i++) {
      if (isTurnOver()) await nextTurn(signal)
      work(limits.yieldMs / 5)
      pieces++
    }
  }
  await Promise.all([read(), read(), read(), read()])
  running = false
  // 5 fit in; 4 readers with a turn of their own each would do 20. On a busy machine it can only be less.
  expect(mostPieces).toBeGreaterThan(0)
  expect(mostPieces).toBeLessThan(12)
})

it('gives the loop back when the turn is over', async () => {
  work(limits.yieldMs)
  expect(isTurnOver()).toBe(true)
  let turned = false
  setImmediate(() => {
    turned = true
  })
  await nextTurn(signal)
  expect(turned).toBe(true)
})

it('stops who was told to', async () => {
  await expect(nextTurn(AbortSignal.abort(new Error('too late')))).rejects.toThrow('too late')
})
