import { parseNumbers } from '../../parsers/proc-sys.ts'
import { NotFound } from '../host/errors.ts'
import type { Host } from '../host/host.ts'

/** The numbers of a sysctl of the host: `net/ipv4/tcp_mem` has three. None where this kernel lacks it. */
export function readSysctl(host: Host, name: string): readonly number[] {
  const path = `/proc/sys/${name}`
  try {
    return parseNumbers(host.files.read(path), path)
  } catch (error) {
    if (error instanceof NotFound) return []
    throw error
  }
}
