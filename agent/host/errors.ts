/** It is not there: this kernel or this machine does without. */
export class NotFound extends Error {
  readonly code = 'ENOENT'
  readonly path: string

  constructor(path: string, why = 'no such file') {
    super(`${path}: ${why}`)
    this.name = 'NotFound'
    this.path = path
  }
}

/** It is there, or should be, and cannot be read. */
export class Unreadable extends Error {
  /** Of the system, as in EACCES; undefined where it was not asked. */
  readonly code: string | undefined

  constructor(what: string, reason: string, code?: string) {
    super(`${what}: ${reason}`)
    this.name = 'Unreadable'
    this.code = code
  }
}
