import { type Line, parseError, readDecimal, splitLines } from './text.ts'

export type ContainerRuntime = 'containerd' | 'crio' | 'docker' | 'podman' | 'kata' | 'lxc' | 'nspawn'

/** Who a process belongs to, as far as the names of its control groups tell. */
export interface ControlGroup {
  /**
   * As the kubelet knows the pod: of a pod from a file on the node 32 hexadecimal digits (the API server's copy has them in
   * the annotation kubernetes.io/config.hash, and another uid).
   */
  readonly podUid: string | undefined
  /** The name, for LXC and systemd-nspawn. Undefined within a pod: a helper of the runtime, such as conmon. */
  readonly containerId: string | undefined
  /** Undefined where the name does not tell, as with the cgroupfs driver. */
  readonly runtime: ContainerRuntime | undefined
  /** Of systemd; undefined within pods and containers. */
  readonly unit: string | undefined
}

/**
 * /proc/<pid>/cgroup (kernel/cgroup/cgroup.c, proc_cgroup_show): a line `<hierarchy>:<controllers>:<path>` for each hierarchy
 * of version 1, and one for version 2, whose number is 0. Undefined: nobody's, such as the root's.
 *
 * The hierarchies may disagree: what knows of a pod is believed first, then of a container, then of a unit; among equals
 * version 2, then the order of the lines. Within a path it is the outermost pod and container, for inside its own group a
 * container may make others, with any name.
 */
export function parseProcPidCgroup(text: string, where: string): ControlGroup | undefined {
  let best: ControlGroup | undefined
  let bestRank = 0
  for (const line of splitLines(text, where)) {
    const { hierarchy, path } = readLine(line)
    const found = findOwner(path)
    const rank = 2 * rankOf(found) + (hierarchy === 0 ? 1 : 0)
    if (found === undefined || rank <= bestRank) continue
    best = found
    bestRank = rank
  }
  return best
}

function readLine(line: Line): { hierarchy: number; path: string } {
  const { text } = line
  const first = text.indexOf(':')
  if (first === -1) throw parseError(line, 0, 'hierarchy:controllers:path')
  const hierarchy = readDecimal(line, 0, first)
  const second = text.indexOf(':', first + 1)
  if (second === -1) throw parseError(line, first + 1, 'controllers and a path')
  if (!/^[\w,.=-]*$/.test(text.slice(first + 1, second))) throw parseError(line, first + 1, 'names of controllers', second)
  if (text[second + 1] !== '/') throw parseError(line, second + 1, 'a path')
  return { hierarchy, path: text.slice(second + 1) }
}

function rankOf(group: ControlGroup | undefined): number {
  if (group === undefined) return 0
  if (group.podUid === undefined) return group.containerId === undefined ? 1 : 2
  return group.containerId === undefined ? 3 : 4
}

/** What the kernel adds to the path of a group that was removed, which zombies are still in. */
const deleted = ' (deleted)'

function findOwner(path: string): ControlGroup | undefined {
  const segments = (path.endsWith(deleted) ? path.slice(0, -deleted.length) : path).split('/').slice(1)
  // Above the root of the reader's cgroup namespace, `..`, there is no telling what a group is called.
  let inPods: boolean | 'perhaps' = segments[0] === '..' && 'perhaps'
  for (let at = 0; at < segments.length; at++) {
    // containerd with the cgroupfs driver under a kubelet with systemd's: `<slice>:cri-containerd:<id>` is one name.
    const [name = '', prefix = '', id = ''] = segments[at]!.split(':', 3)
    const podUid = findPodUid(name, inPods)
    if (podUid !== undefined) {
      const container = prefix === '' ? findContainer(segments[at + 1] ?? '') : findContainer(`${prefix}-${id}`)
      return { podUid, containerId: container?.id, runtime: container?.runtime, unit: undefined }
    }
    if (/^(?:.*-)?kubepods(?:\.slice)?$/.test(name)) inPods = true
  }
  for (let at = 0; at < segments.length; at++) {
    const container = findContainer(segments[at]!, segments[at - 1])
    if (container !== undefined)
      return { podUid: undefined, containerId: container.id, runtime: container.runtime, unit: undefined }
  }
  const unit = segments.find((name) => /^.+\.(?:service|scope|socket|mount|swap)$/.test(name))
  // systemd puts a _ before what could be taken for a file of the kernel's.
  return unit === undefined
    ? undefined
    : { podUid: undefined, containerId: undefined, runtime: undefined, unit: unit.replace(/^_/, '') }
}

/** Names of pods' groups: pod<uid>, and with systemd's driver all above it before, which has _ where the uid has a dash. */
function findPodUid(name: string, inPods: boolean | 'perhaps'): string | undefined {
  const slice = /^(?:.*-)?kubepods-(?:(?:burstable|besteffort)-)?pod([^-]{1,128})\.slice$/.exec(name)?.[1]
  if (slice !== undefined) return slice.replaceAll('_', '-')
  const uid = inPods === false ? undefined : /^pod(.{1,128})$/.exec(name)?.[1]
  return uid === undefined || inPods === true || /^(?:[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.test(uid)
    ? uid
    : undefined
}

const runtimes: Readonly<Record<string, ContainerRuntime>> = {
  'cri-containerd-': 'containerd',
  'nerdctl-': 'containerd',
  'crio-': 'crio',
  'docker-': 'docker',
  'libpod-': 'podman',
  'libpod-payload-': 'podman',
  kata_: 'kata',
}

/** A container's group by its name and, where that is only a number, the name of the group it is in. */
function findContainer(name: string, parent = ''): { id: string; runtime: ContainerRuntime | undefined } | undefined {
  const numbered = /^([a-z-]*[-_])?([0-9a-f]{12,64})(?:\.scope)?$/.exec(name)
  if (numbered !== null) {
    const [, prefix, id = ''] = numbered
    if (prefix !== undefined) return Object.hasOwn(runtimes, prefix) ? { id, runtime: runtimes[prefix] } : undefined
    return id.length === 64 ? { id, runtime: parent === 'docker' ? 'docker' : undefined } : undefined
  }
  const lxc = /^lxc\.payload\.(.+)$/.exec(name)?.[1] ?? (/^lxc(?:\.payload)?$/.test(parent) ? name : '')
  if (lxc !== '') return { id: lxc, runtime: 'lxc' }
  const nspawn = /^systemd-nspawn@(.+)\.service$/.exec(name)?.[1] ?? /^machine-(.+)\.scope$/.exec(name)?.[1]
  if (nspawn === undefined) return undefined
  const plain = unescapeUnit(nspawn)
  return /^(?:qemu|lxc)-/.test(plain) ? undefined : { id: plain, runtime: 'nspawn' } // of libvirt: a virtual machine
}

/** systemd's \x2d in names of units. */
function unescapeUnit(name: string): string {
  return name.replace(/\\x([0-7][0-9a-f])/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)))
}
