import { ConfigError } from '../config-file.ts'
import type { Files } from '../host/files.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { watchPods } from './api-server-pods.ts'
import { sleep } from './deadline.ts'
import { pollKubelet } from './kubelet-pods.ts'
import { type Peers, watchPeers } from './peers.ts'
import type { PodDirectory } from './pod-directory.ts'
import { pollPodLogs } from './pod-logs.ts'
import { watchPodsFile } from './pods-file.ts'

export interface PodNameSettings {
  readonly source: 'auto' | 'api' | 'kubelet' | 'logs' | 'file' | 'off'
  /** Of `file`. */
  readonly file: string
  readonly node: string
  /** Undefined: not in a pod. */
  readonly apiServer: { readonly host: string; readonly port: number } | undefined
  readonly kubelet: { readonly host: string | undefined; readonly port: number; readonly verify: boolean }
}

/** Kubernetes puts the token and the CA of the pod's service account there. */
const accountFolder = '/var/run/secrets/kubernetes.io/serviceaccount'
export const tokenFile = `${accountFolder}/token`
export const caFile = `${accountFolder}/ca.crt`

/** The kubelet makes a folder for each pod. */
const logsFolder = '/var/log/pods'

/** Where names of pods come from, by the settings; undefined: from nowhere. */
export function openPodNames(settings: PodNameSettings, files: NameFiles, log: Log): PodDirectory | undefined {
  const { apiServer, kubelet, file, node: nodeName } = settings
  const { read, list } = files
  const source = settings.source === 'auto' ? chooseSource(settings, files) : settings.source
  switch (source) {
    case 'api': {
      if (apiServer === undefined) throw new ConfigError(`identity.pods is api, but ${noPod}`)
      return watchPods({ ...apiServer, tokenFile, caFile, nodeName, read, log })
    }
    case 'kubelet': {
      const { host = '127.0.0.1', port } = kubelet
      return pollKubelet({ host, port, tokenFile, caFile, verify: kubelet.verify, read, log })
    }
    case 'logs':
      return pollPodLogs({ folder: logsFolder, list, log })
    case 'file':
      if (file === '') throw new ConfigError('identity.pods is file, but identity.pods-file names none')
      return watchPodsFile({ file, log })
    case 'off':
      return undefined
  }
}

/** Where names of addresses elsewhere come from; undefined: from nowhere. */
export function openPeerNames(
  from: 'off' | 'endpointslices' | 'pods',
  apiServer: PodNameSettings['apiServer'],
  ownPods: PodDirectory | undefined,
  { read }: NameFiles,
  log: Log,
): Peers | undefined {
  if (from === 'off') return undefined
  if (apiServer === undefined) throw new ConfigError(`identity.peers is ${from}, but ${noPod}`)
  return watchPeers({ from, ownPods, ...apiServer, tokenFile, caFile, read, log })
}

const noPod = 'this is no pod of Kubernetes: KUBERNETES_SERVICE_HOST is not set'

type Source = Exclude<PodNameSettings['source'], 'auto'>
type NameFiles = Pick<Files, 'read' | 'list'>

function chooseSource({ apiServer }: PodNameSettings, { read, list }: NameFiles): Source {
  if (apiServer !== undefined && works(() => read(tokenFile))) return 'api'
  return works(() => list(logsFolder, limits.podLogsFolders)) ? 'logs' : 'off'
}

function works(attempt: () => unknown): boolean {
  try {
    attempt()
    return true
  } catch {
    return false
  }
}

/** Resolves when there are names, or the reason why there are none, or it has taken too long. */
export async function untilListed(names: Pick<PodDirectory | Peers, 'status'>, signal: AbortSignal): Promise<void> {
  for (let waitedMs = 0; waitedMs < limits.firstNamesMs && !signal.aborted; waitedMs += checkMs) {
    const { listedOnce, lastError } = names.status()
    if (listedOnce || lastError !== undefined) return
    await sleep(checkMs, signal)
  }
}

const checkMs = 20
