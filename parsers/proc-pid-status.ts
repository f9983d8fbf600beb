import { type Line, ParseError, readColumns, readDecimal, readExactly, readHex, splitLines } from './text.ts'

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
  // Uid:	real	effective	saved	file system
  const [, uid] = readExactly(need('Uid:'), 'Uid:'.length, 4, readDecimal)
  const [capEff] = readExactly(need('CapEff:'), 'CapEff:'.length, 1, readCapabilities)
  const vmRss = find('VmRSS:')
  const [vmRssKiB] = vmRss === undefined ? [] : readExactly(vmRss, 'VmRSS:'.length, 2, readKiB)
  return { uid: uid!, capEff: capEff!, vmRssBytes }
}
