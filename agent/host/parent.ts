import fs from 'node:fs'
import { limits } from '../limits.ts'
import { createLineSplitter } from './lines.ts'

// How a process that captures talks with the one that started it: lines of JSON, written and read without a turn of the loop.

const [orders, reports] = [0, 1]

/** Waits for a parent that is slow: meanwhile the kernel keeps packets, and counts those it has no room for. */
export function tellParent(what: object): void {
  const line = Buffer.from(`${JSON.stringify(what)}\n`)
  for (let at = 0; at < line.length; ) at += writeSome(line, at)
}

function writeSome(line: Buffer, at: number): number {
  try {
    return fs.writeSync(reports, line, at)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') process.exit(0) // nobody reads any more
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
    return 0
  }
}

/** Returns how to read what has come since. The process ends when the parent has gone, or when `onGone` has returned. */
export function listenToParent(onOrder: (order: unknown) => void, onGone = (): void => {}): () => void {
  const splitter = createLineSplitter({
    onLine: (line) => onOrder(JSON.parse(line)),
    onLong: () => process.exit(1), // it writes none
    bytesMax: limits.captureLineBytes,
  })
  const chunk = Buffer.alloc(1 << 16)
  process.stdin.pause() // to have it opened makes reading it not wait; reading through it would have no turn
  function leave(): never {
    onGone()
    process.exit(0)
  }
  return () => {
    for (;;) {
      let length = 0
      try {
        length = fs.readSync(orders, chunk)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return
        leave()
      }
      if (length === 0) leave()
      splitter.push(chunk.subarray(0, length))
    }
  }
}
