import { expect, it } from 'vitest'
import { createProcSoftnet } from '../../../agent/sources/proc-softnet.ts'
import { collectFrom, valuesOf } from '../../source-contract.ts'
import { createFakeHost } from './fake-host.ts'

const file = '/proc/net/softnet_stat'
const hex = (value: number): string => value.toString(16).padStart(8, '0')
/** As Linux 5.14 and later print it; without a CPU as those before. */
const row = (dropped: number, squeezed: number, cpu?: number): string =>
  `${[9, dropped, squeezed, 0, 0, 0, 0, 0, 0, 0, 0, ...(cpu === undefined ? [] : [0, cpu])].map(hex).join(' ')}\n`

it('adds the CPUs, over wraps of one, and keeps the share of one that is offline', async () => {
  const fake = createFakeHost()
  const source = createProcSoftnet(fake.host)
  const read = async (text: string): Promise<unknown[]> => {
    fake.files[file] = text
    const collected = await collectFrom(source)
    return ['drops', 'time_squeezes'].map(
      (what) => Object.values(valuesOf(collected, `netvitals_softnet_${what}_total` as 'netvitals_softnet_drops_total'))[0],
    )
  }
  expect(await read(row(2 ** 32 - 2, 1, 0) + row(5, 2, 3))).toEqual([2 ** 32 + 3, 3])
  expect(await read(row(1, 1, 0) + row(6, 2, 3))).toEqual([2 ** 32 + 7, 3])
  expect(await read(row(2, 1, 0))).toEqual([2 ** 32 + 8, 3])
  expect(await read(row(2, 4, 0) + row(6, 2, 3))).toEqual([2 ** 32 + 8, 6])
})

it('tells the CPUs of an old kernel by their place', async () => {
  const fake = createFakeHost()
  fake.files[file] = row(1, 0) + row(2, 0)
  expect(valuesOf(await collectFrom(createProcSoftnet(fake.host)), 'netvitals_softnet_drops_total')).toEqual({ '': 3 })
})
