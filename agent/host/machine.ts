import fs from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'

/** What the node runs, for node_info. */
export interface Machine {
  readonly kernel: string
  readonly machine: string
  readonly os: string
  readonly cgroup: 'v1' | 'v2' | 'hybrid' | 'unknown'
}

const readText = (file: string): string | undefined => {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

function findCgroup(root: string): Machine['cgroup'] {
  const mount = path.join(root, 'sys/fs/cgroup')
  if (fs.existsSync(path.join(mount, 'cgroup.controllers'))) return 'v2'
  if (fs.existsSync(path.join(mount, 'unified/cgroup.controllers'))) return 'hybrid'
  if (!fs.existsSync(mount)) return 'unknown'
  // In a container the hierarchy of version 2 may not be mounted.
  const own = readText(path.join(root, 'proc/self/cgroup'))?.trim().split('\n') ?? []
  if (own.some((line) => line.startsWith('0::'))) return own.length > 1 ? 'hybrid' : 'v2'
  return 'v1'
}

/** The one file of systeminformation that is needed: the whole package would stay in memory, 3 MB, for one question. */
function loadOsInfo(): Pick<typeof import('systeminformation'), 'osInfo'> {
  return createRequire(import.meta.url)('systeminformation/lib/osinfo.js')
}

/** Once, at start: on the real machine systeminformation runs a shell for it, and says nothing where there is none. */
export async function readMachine(root: string): Promise<Machine> {
  const kernel = readText(path.join(root, 'proc/sys/kernel/osrelease'))?.trim()
  if (root !== '/') {
    const release = readText(path.join(root, 'etc/os-release'))
    return {
      kernel: kernel ?? 'unknown',
      machine: readText(path.join(root, 'proc/sys/kernel/arch'))?.trim() ?? 'unknown', // Linux 6.1
      os: /^PRETTY_NAME="?(.*?)"?$/m.exec(release ?? '')?.[1] ?? 'unknown',
      cgroup: findCgroup(root),
    }
  }
  const { distro, release } = await loadOsInfo()
    .osInfo()
    .catch(() => ({ distro: '', release: '' }))
  return {
    kernel: kernel ?? os.release(),
    machine: os.machine(),
    os: `${distro} ${release}`.trim() || 'unknown',
    cgroup: findCgroup(root),
  }
}

/** As configured. */
export interface NodeNameSettings {
  readonly root: string
  readonly 'kubernetes.node': string
}

/** What this node is called; of a recorded tree that is where it is. */
export function readNodeName({ root, 'kubernetes.node': name }: NodeNameSettings): string {
  return root === '/' ? name || os.hostname() : root
}

const auxvPageSize = 6n

/** Bytes of a page of memory, in which sockstat counts (AT_PAGESZ of /proc/self/auxv); 4096 where it is not told. */
export function readPageSizeBytes(): number {
  try {
    const words = new BigUint64Array(new Uint8Array(fs.readFileSync('/proc/self/auxv')).buffer)
    for (let i = 0; i + 1 < words.length; i += 2) if (words[i] === auxvPageSize) return Number(words[i + 1])
  } catch {
    // no /proc
  }
  return 4096
}
