import fs from 'node:fs'
import { limits } from '../limits.ts'

/** Names of addresses in the kernel's code. */
export interface KernelSymbols {
  /** `tcp_v4_rcv+0x9c7` for each that has a name. Reads the whole table when there is one it has not looked for yet. */
  find(addresses: readonly bigint[]): Promise<ReadonlyMap<bigint, string>>
  /** Why there are no names. */
  readonly missing: string | undefined
}

/** From /proc/kallsyms, which shows its addresses to CAP_SYSLOG alone, or to all, as kernel.kptr_restrict says. */
export function createKernelSymbols(file = '/proc/kallsyms'): KernelSymbols {
  const known = new Map<bigint, string | undefined>()
  let missing: string | undefined
  return {
    get missing() {
      return missing
    },
    async find(addresses) {
      const sought = [...new Set(addresses)].filter((address) => !known.has(address))
      if (sought.length > 0 && missing === undefined) {
        try {
          const found = await search(file, sought)
          if (found === undefined) missing = `${file} shows no addresses: needs CAP_SYSLOG`
          for (const address of sought) {
            if (known.size >= limits.kernelSymbols) known.delete(known.keys().next().value!)
            known.set(address, found?.get(address))
          }
        } catch (error) {
          missing = (error as Error).message
        }
      }
      return new Map(addresses.flatMap((address) => (known.get(address) === undefined ? [] : [[address, known.get(address)!]])))
    },
  }
}

/** Undefined: the addresses are hidden. The table is not sorted: modules come last, wherever they are. */
async function search(file: string, addresses: readonly bigint[]): Promise<Map<bigint, string> | undefined> {
  const best = addresses.map((address) => ({ address, start: 0n, name: '' }))
  let isHidden = true
  let rest = ''
  const take = (line: string): void => {
    const [, hex = '', name = ''] = /^([0-9a-f]{8,16}) [tTwW] (\S+)/.exec(line) ?? []
    if (name === '') return
    const start = BigInt(`0x${hex}`)
    if (start !== 0n) isHidden = false
    for (const one of best) {
      if (start <= one.address && start > one.start) Object.assign(one, { start, name })
    }
  }
  for await (const chunk of fs.createReadStream(file, { encoding: 'latin1', highWaterMark: limits.streamBytes })) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) take(line)
  }
  take(rest)
  if (isHidden) return undefined
  return new Map(
    best.flatMap(({ address, start, name }) => (name === '' ? [] : [[address, `${name}+0x${(address - start).toString(16)}`]])),
  )
}
