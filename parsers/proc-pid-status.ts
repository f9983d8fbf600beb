import { type Line, ParseError, parseError, readDecimal, readExactly, readHex, splitLines } from './text.ts'

export interface ProcessStatus {
  /** The effective user. */
  readonly uid: number
  /** Effective capabilities, a bit each (include/uapi/linux/capability.h). */
  readonly capEff: bigint
  /** Undefined: a kernel thread or a zombie, which have no memory of their own. */
  readonly vmRssBytes: number | undefined
}

/** /proc/<pid>/status (fs/proc/array.c, proc_pid_status): a name, a colon and what is said about it, a line each. */
export function parseProcPidStatus(text: string, where: string): ProcessStatus {
  const lines = splitLines(text, where)
  const find = (name: string): Line | undefined => lines.find((line) => line.text.startsWith(name))
  const need = (name: string): Line => {
    const line = find(name)
    if (line === undefined) throw new ParseError(where, lines.length + 1, 1, name, '')
    return line
  }
  const [, effective] = readExactly(need('Uid:'), 'Uid:'.length, 4, readDecimal) // real, effective, saved, of the file system
  const capEff = need('CapEff:')
  readExactly(capEff, 'CapEff:'.length, 1, readHex)
  const vmRss = find('VmRSS:')
  return {
    uid: effective!,
    capEff: BigInt(`0x${capEff.text.slice('CapEff:'.length).trim()}`), // 64 bits: more than a number holds
    vmRssBytes: vmRss && readKiB(vmRss, 'VmRSS:'.length) * 1024,
  }
}

function readKiB(line: Line, at: number): number {
  const unit = line.text.lastIndexOf(' kB')
  if (unit === -1 || unit + 3 < line.text.length) throw parseError(line, line.text.length, 'kB')
  return readExactly({ ...line, text: line.text.slice(0, unit) }, at, 1, readDecimal)[0]!
}
