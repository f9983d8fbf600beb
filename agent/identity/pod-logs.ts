import type { Files } from '../host/files.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { readNamespace, readSubdomain, readUid } from './kubernetes-fields.ts'
import type { PodDirectory, PodRecord } from './pod-directory.ts'
import { pollDirectory } from './polled-directory.ts'
import { createRecordStore, type Reading } from './record-store.ts'
import { isConfigHash, workloadOfPodName } from './workload.ts'

export interface PodLogsOptions {
  /** /var/log/pods, or where it is mounted. */
  readonly folder: string
  readonly list: Files['list']
  readonly log: Log
}

/**
 * The kubelet makes a folder `<namespace>_<name>_<uid>` for the logs of each pod (pkg/kubelet/kuberuntime/helpers.go,
 * BuildPodLogsDirectory), whose UID is that of cgroups. So names are known without asking anybody, for a while after a pod
 * has ended too; addresses are not.
 */
export function pollPodLogs({ folder, list, log }: PodLogsOptions): PodDirectory {
  // The folder of a StatefulSet's pod may still be there when the next of that name runs.
  const store = createRecordStore({ read: readFolderName, weightMax: limits.kubernetesPods, isNameUnique: false })
  return pollDirectory({
    store,
    poll() {
      const found = store.begin()
      for (const name of list(folder, limits.podLogsFolders)) found.add(name)
      found.commit()
    },
    waitMs: () => limits.podLogsIntervalMs,
    describe: (error) => `the folders of the pods' logs cannot be read: ${(error as Error).message}; is it mounted?`,
    log,
    fields: { folder },
  })
}

function readFolderName(folder: unknown): Reading<PodRecord> | undefined {
  const parts = String(folder).split('_') // neither names nor UIDs have one
  const namespace = readNamespace(parts[0])
  const name = readSubdomain(parts[1])
  const uid = readUid(parts[2])
  if (parts.length !== 3 || namespace === undefined || name === undefined || uid === undefined) return undefined
  const record: PodRecord = {
    uid,
    cgroupUid: uid,
    namespace,
    name,
    phase: 'Unknown',
    hostNetwork: undefined,
    addresses: [],
    containerIds: [],
    workload: isConfigHash(uid) ? { name, type: 'staticpod' } : workloadOfPodName(name),
    createdAtMs: undefined,
    startedAtMs: undefined,
    deletionAtMs: undefined,
  }
  return { record, invalidFields: 0 }
}
