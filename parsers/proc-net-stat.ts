import { readColumns, readExactly, readHex, readName, splitLines } from './text.ts'

/** A row for each possible CPU. Columns are found by name: kernels have changed their order, meaning and number. */
export interface StatTable {
  readonly names: readonly string[]
  /** As many numbers in each as there are names. */
  readonly rows: readonly (readonly number[])[]
}

/** The files of /proc/net/stat: a line of names, then rows of hexadecimal numbers. */
export function parseProcNetStat(text: string, where: string): StatTable {
  const [header, ...lines] = splitLines(text, where)
  const names = readColumns(header, 0, readName)
  return { names, rows: lines.map((line) => readExactly(line, 0, names.length, readHex)) }
}
