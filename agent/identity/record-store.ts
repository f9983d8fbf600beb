import type { LeftOut } from './pod-directory.ts'

/** What is kept of an object of Kubernetes. */
export interface NamedRecord {
  readonly uid: string
  readonly namespace: string
  readonly name: string
}

export interface Reading<R> {
  /** Undefined: it is another node's. */
  readonly record: R | undefined
  readonly invalidFields: number
}

export interface RecordStoreOptions<R> {
  /** Undefined: it cannot be trusted to be what it should be. */
  readonly read: (object: unknown) => Reading<R> | undefined
  /** Of all records together, each with its weight. */
  readonly weightMax: number
  /** 1 unless told; more than 0, and always the same of a record. */
  readonly weightOf?: (record: R) => number
  /** False: what is no more may still be told with its name. */
  readonly isNameUnique?: boolean
}

export interface RecordStore<R> {
  readonly records: ReadonlyMap<string, R>
  readonly leftOut: LeftOut
  /** A list, which changes nothing until it is whole. */
  begin(): { add(object: unknown): void; commit(): void }
  put(object: unknown): void
  remove(uid: string): void
  onChange(listener: RecordListener<R>): () => void
}

/** Undefined: it is no more. Must not throw. */
export type RecordListener<R> = (uid: string, record: R | undefined) => void

export function createRecordStore<R extends NamedRecord>({
  read,
  weightMax,
  weightOf = () => 1,
  isNameUnique = true,
}: RecordStoreOptions<R>): RecordStore<R> {
  const records = new Map<string, R>()
  /** A name is one object's at a time: when another bears it the first is gone, whether or not that was told. */
  const uidOf = new Map<string, string>()
  let weight = 0
  const listeners = new Set<RecordListener<R>>()
  const leftOut: LeftOut = { invalidObjects: 0, invalidFields: 0, otherNodes: 0, duplicates: 0, tooMany: 0 }

  const nameOf = ({ namespace, name, uid }: R): string => (isNameUnique ? `${namespace}/${name}` : uid)

  function take(object: unknown): R | undefined {
    const reading = read(object)
    if (reading === undefined) {
      leftOut.invalidObjects++
      return undefined
    }
    leftOut.invalidFields += reading.invalidFields
    if (reading.record === undefined) leftOut.otherNodes++
    return reading.record
  }

  function set(record: R): void {
    const name = nameOf(record)
    const before = records.get(record.uid)
    const other = uidOf.get(name)
    if (other !== undefined && other !== record.uid) drop(other)
    const more = weightOf(record) - (before === undefined ? 0 : weightOf(before))
    if (more > 0 && weight + more > weightMax) {
      leftOut.tooMany += weightOf(record)
      drop(record.uid) // what it was before is not true any more
      return
    }
    if (before !== undefined && JSON.stringify(before) === JSON.stringify(record)) return
    if (before !== undefined) uidOf.delete(nameOf(before))
    weight += more
    records.set(record.uid, record)
    uidOf.set(name, record.uid)
    for (const listener of listeners) listener(record.uid, record)
  }

  function drop(uid: string): void {
    const record = records.get(uid)
    if (record === undefined) return
    weight -= weightOf(record)
    records.delete(uid)
    uidOf.delete(nameOf(record))
    for (const listener of listeners) listener(uid, undefined)
  }

  return {
    records,
    leftOut,
    begin() {
      const found = new Map<string, R>()
      let foundWeight = 0
      return {
        add(object) {
          const record = take(object)
          if (record === undefined) return
          if (found.has(record.uid)) leftOut.duplicates++
          else if (foundWeight + weightOf(record) > weightMax) leftOut.tooMany += weightOf(record)
          else {
            found.set(record.uid, record)
            foundWeight += weightOf(record)
          }
        },
        commit() {
          for (const [uid, before] of [...records]) {
            const now = found.get(uid)
            if (now === undefined || weightOf(now) > weightOf(before)) drop(uid) // before others that grow need its room
          }
          for (const record of found.values()) set(record)
        },
      }
    },
    put(object) {
      const record = take(object)
      if (record !== undefined) set(record)
    },
    remove: drop,
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}
