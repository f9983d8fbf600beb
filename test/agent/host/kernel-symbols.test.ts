import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { createKernelSymbols } from '../../../agent/host/kernel-symbols.ts'

let folder: string
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netvitals-symbols-'))
})
afterAll(() => fs.rmSync(folder, { recursive: true }))

function write(text: string): string {
  const file = path.join(folder, `${Math.random()}`)
  fs.writeFileSync(file, text)
  return file
}

const table = `ffffffff81000000 T _text
ffffffff81000400 t tcp_v4_rcv
ffffffff81000440 d not_code
ffffffff81000800 T ip_rcv
ffffffffc0000000 t ovs_execute	[openvswitch]
ffffffff81000600 W weak_one
`

it('names functions and how far within', async () => {
  const symbols = createKernelSymbols(write(table))
  const found = await symbols.find([0xffffffff81000450n, 0xffffffff81000800n, 0xffffffffc0000010n, 0xffffffff81000700n, 0x10n])
  expect(Object.fromEntries(found)).toEqual({
    [String(0xffffffff81000450n)]: 'tcp_v4_rcv+0x50',
    [String(0xffffffff81000800n)]: 'ip_rcv+0x0',
    [String(0xffffffffc0000010n)]: 'ovs_execute+0x10',
    [String(0xffffffff81000700n)]: 'weak_one+0x100',
  })
  expect(symbols.missing).toBeUndefined()
})

it('reads the table once for an address, named or not', async () => {
  const file = write(table)
  const symbols = createKernelSymbols(file)
  await symbols.find([0xffffffff81000450n, 0x10n])
  fs.rmSync(file)
  expect((await symbols.find([0xffffffff81000450n, 0x10n])).size).toBe(1)
  expect(symbols.missing).toBeUndefined()
})

it('says when the kernel hides its addresses', async () => {
  const symbols = createKernelSymbols(write(table.replaceAll(/^[0-9a-f]{16}/gm, '0000000000000000')))
  expect((await symbols.find([0xffffffff81000450n])).size).toBe(0)
  expect(symbols.missing).toMatch(/shows no addresses: needs CAP_SYSLOG$/)
})

it('says when there is no table', async () => {
  const symbols = createKernelSymbols('/nonexistent')
  expect((await symbols.find([1n])).size).toBe(0)
  expect(symbols.missing).toMatch(/ENOENT/)
})

it('takes garbage', async () => {
  const symbols = createKernelSymbols(write(`\u0000\n${'x'.repeat(200_000)}\nffffffff81000400 T\n${table}half`))
  expect((await symbols.find([0xffffffff81000450n])).get(0xffffffff81000450n)).toBe('tcp_v4_rcv+0x50')
})
