import fs from 'node:fs'
import { expect, it } from 'vitest'
import { describeErrno, loadLibc } from '../../../agent/host/libc.ts'

it('names errors', () => {
  expect(describeErrno(1)).toEqual({ code: 'EPERM', words: 'operation not permitted' })
  expect(describeErrno(9999)).toEqual({ code: 'errno 9999', words: 'unknown error' })
})

it('loads once, and answers as the kernel does', async () => {
  expect(loadLibc()).toBe(loadLibc())
  const { libc } = await loadLibc()
  if (libc === undefined) throw new Error('koffi is not installed')
  expect(libc.socket(99, 2, 0)).toBe(-97)
  const fd = libc.socket(1, 2, 0)
  expect(fd).toBeGreaterThan(2)
  const value = new Uint8Array(4)
  expect(libc.getsockopt(fd, 1, 3, value)).toBe(4) // SO_TYPE
  expect([...value]).toEqual([2, 0, 0, 0])
  expect(libc.setsockopt(fd, 1, 9, Uint8Array.of(1, 0, 0, 0))).toBe(0) // SO_KEEPALIVE
  expect(libc.send(fd, new Uint8Array(3))).toBe(-107)
  expect(libc.receive(fd, new Uint8Array(3), 0x40)).toBe(-11)
  expect(libc.connect(fd, new Uint8Array(1))).toBe(-22)
  fs.closeSync(fd)
  expect(libc.setns(fd, 0x40000000)).toBe(-9)
})
