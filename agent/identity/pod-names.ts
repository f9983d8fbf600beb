import type { Files } from '../host/files.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { watchPods } from './api-server-pods.ts'
import { sleep } from './deadline.ts'
import type { PodDirectory } from './pod-directory.ts'

export interface PodNameSettings {
  readonly source: 'auto' | 'api' | 'kubelet' | 'logs' | 'file' | 'off'
  /** For `file`. */
  readonly file: string
  readonly node: string
  /** Undefined: not in a pod. */
  readonly apiServer: { readonly host: string; readonly port: number } | undefined
}

/** Kubernetes puts the token and the CA of the pod's service account there. */
const accountFolder = '/var/run/secrets/kubernetes.io/serviceaccount'
export const tokenFile = `${accountFolder}/token`
export const caFile = `${accountFolder}/ca.crt`

/** Where names of pods come from, by the settings; undefined: from nowhere. */
export function openPodNames(settings: PodNameSettings, read: Files['read'], log: Log): PodDirectory | undefined {
  const { apiServer, node: nodeName } = settings
  const source = settings.source === 'auto' ? chooseSource(settings, read) : settings.source
  if (source === 'api' && apiServer !== undefined) return watchPods({ ...apiServer, tokenFile, caFile, nodeName, read, log })
  return undefined
}

function chooseSource({ apiServer }: PodNameSettings, read: Files['read']): PodNameSettings['source'] {
  return apiServer !== undefined && isReadable(tokenFile, read) ? 'api' : 'off'
}

function isReadable(file: string, read: Files['read']): boolean {
  try {
    return read(file) !== ''
  } catch {
    return false
  }
}

/** Resolves when there are names, or the reason why there are none, or it has taken too long. */
export async function untilListed(names: Pick<PodDirectory, 'status'>, signal: AbortSignal): Promise<void> {
  for (let waitedMs = 0; waitedMs < limits.firstNamesMs && !signal.aborted; waitedMs += checkMs) {
    const { listedOnce, lastError } = names.status()
    if (listedOnce || lastError !== undefined) return
    await sleep(checkMs, signal)
  }
}

const checkMs = 20
