import { ConfigError, parseYamlMapping, readConfigFile, type YamlMapping } from '../config-file.ts'
import { limits } from '../limits.ts'
import type { Log } from '../log.ts'
import { asArray, field, readContainerId, readIp, readKind, readNamespace, readSubdomain, readUid } from './kubernetes-fields.ts'
import type { PodDirectory, PodRecord } from './pod-directory.ts'
import { pollDirectory } from './polled-directory.ts'
import { createRecordStore } from './record-store.ts'
import { workloadOfPodName } from './workload.ts'

export interface PodsFileOptions {
  readonly file: string
  readonly log: Log
}

/** Pods that a person or another program writes down, in YAML or JSON. It is read again when it changes; a broken one changes nothing. */
export function watchPodsFile({ file, log }: PodsFileOptions): PodDirectory {
  const read = (record: unknown) => ({ record: record as PodRecord, invalidFields: 0 })
  const store = createRecordStore({ read, weightMax: limits.kubernetesPods })
  let text: string | undefined
  return pollDirectory({
    store,
    poll() {
      const now = readConfigFile(file)
      if (now === text) return
      const found = store.begin()
      for (const pod of readPodsFile(now, file)) found.add(pod)
      found.commit()
      text = now
    },
    waitMs: () => limits.fileCheckMs,
    describe: (error) => (error as Error).message,
    log,
    fields: { file },
  })
}

type Place = readonly PropertyKey[]

const keys = ['namespace', 'name', 'uid', 'addresses', 'workload', 'workload_type', 'host_network', 'container_ids']
const words = {
  pods: 'a list of pods (`- namespace: …`)',
  namespace: 'a name of a namespace, such as shop',
  name: 'a name of a pod, such as web-0',
  uid: 'a UID as in the path of its control group, such as 11111111-2222-3333-4444-555555555555',
  addresses: 'an IP address, such as 10.0.0.1',
  workload: 'a name of a workload, such as web',
  workload_type: 'a kind of workload, such as deployment',
  host_network: 'true or false',
  container_ids: 'an ID of a container, such as 64 hexadecimal digits',
} as const

/** `pods:` and a list of them. @throws ConfigError with file and line */
export function readPodsFile(text: string, file: string): PodRecord[] {
  const mapping = parseYamlMapping(text, file)
  refuseOthers(mapping, mapping.value, ['pods'], [])
  const entries = mapping.value.pods ?? []
  if (!Array.isArray(entries)) throw wrong(mapping, ['pods'], `expected ${words.pods}`)
  if (entries.length > limits.kubernetesPods)
    throw wrong(mapping, ['pods'], `expected no more than limits.kubernetesPods, ${limits.kubernetesPods}`)
  const uids = new Set<string>()
  const names = new Set<string>()
  return entries.map((entry, at) => {
    const pod = readEntry(mapping, entry, ['pods', at])
    const name = `${pod.namespace}/${pod.name}`
    if (uids.has(pod.uid)) throw wrong(mapping, ['pods', at, 'uid'], 'another pod has it')
    if (names.has(name)) throw wrong(mapping, ['pods', at, 'name'], 'another pod of the namespace has it')
    uids.add(pod.uid)
    names.add(name)
    return pod
  })
}

function readEntry(mapping: YamlMapping, entry: unknown, place: Place): PodRecord {
  refuseOthers(mapping, entry, keys, place)
  type Reader<T> = (value: unknown) => T | undefined
  function optional<T>(key: keyof typeof words, reader: Reader<T>): T | undefined {
    const value = field(entry, key)
    if (value === undefined || value === null) return undefined
    const result = reader(value)
    if (result === undefined) throw wrong(mapping, [...place, key], `expected ${words[key]}`)
    return result
  }
  function required<T>(key: keyof typeof words, reader: Reader<T>): T {
    const value = optional(key, reader)
    if (value === undefined) throw wrong(mapping, place, `${key} is missing: ${words[key]}`)
    return value
  }
  function all(key: keyof typeof words, reader: Reader<string>, max: number): string[] {
    const values = optional(key, asArray) ?? []
    if (values.length > max) throw wrong(mapping, [...place, key], `expected no more than ${max}`)
    return values.map((value, at) => {
      const result = reader(value)
      if (result === undefined) throw wrong(mapping, [...place, key, at], `expected ${words[key]}`)
      return result
    })
  }

  const name = required('name', readSubdomain)
  const uid = required('uid', readUid)
  const hostNetwork = optional('host_network', (value) => (typeof value === 'boolean' ? value : undefined))
  const guess = workloadOfPodName(name)
  const workload = optional('workload', readSubdomain)
  const type = optional('workload_type', readKind)
  const addresses = all('addresses', readIp, limits.kubernetesPodAddresses)
  if (hostNetwork && addresses.length > 0)
    throw wrong(mapping, [...place, 'addresses'], 'expected none: with host_network they are those of the node')
  return {
    uid,
    cgroupUid: uid,
    namespace: required('namespace', readNamespace),
    name,
    phase: 'Unknown',
    hostNetwork,
    addresses,
    containerIds: all('container_ids', readContainerId, limits.kubernetesPodContainers),
    workload: workload === undefined ? { ...guess, type: type ?? guess.type } : { name: workload, type },
    createdAtMs: undefined,
    startedAtMs: undefined,
    deletionAtMs: undefined,
  }
}

function refuseOthers(mapping: YamlMapping, value: unknown, known: readonly string[], place: Place): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrong(mapping, place, `expected ${known.map((key) => `${key}: …`).join(', ')}`)
  for (const key of Object.keys(value)) if (!known.includes(key)) throw wrong(mapping, [...place, key], 'no such setting')
}

const wrong = (mapping: YamlMapping, place: Place, message: string): ConfigError =>
  new ConfigError(`${mapping.where(place)}: ${place.join('.')}: ${message}`)
