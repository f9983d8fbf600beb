import { createHmac, randomBytes } from 'node:crypto'
import bcrypt from 'bcryptjs'
import { limits } from '../limits.ts'

export interface Passwords {
  /** `busy`: too many unknown passwords are being checked; try again. */
  check(users: ReadonlyMap<string, string>, user: string, password: string): Promise<boolean | 'busy'>
}

/** bcrypt is slow on purpose, and every scrape brings a password: what was right is remembered, as a keyed hash. */
export function createPasswords(): Passwords {
  const key = randomBytes(32)
  const right = new Set<string>()
  let checking = 0

  const hashOf = (...parts: string[]): string => createHmac('sha256', key).update(JSON.stringify(parts)).digest('base64')

  return {
    async check(users, user, password) {
      const stored = users.get(user)
      const remembered = hashOf(user, password, stored ?? '')
      if (right.has(remembered)) return true
      if (checking >= limits.passwordChecks) return 'busy'
      checking++
      try {
        // An unknown user takes as long as a known one.
        const matches = await bcrypt.compare(password, stored ?? hashOfNobody(users))
        if (!matches || stored === undefined) return false
      } finally {
        checking--
      }
      const oldest = right.size >= limits.passwordsRemembered ? right.values().next().value : undefined
      if (oldest !== undefined) right.delete(oldest)
      right.add(remembered)
      return true
    },
  }
}

/** A hash of the same cost as the users', of a password nobody knows. */
function hashOfNobody(users: ReadonlyMap<string, string>): string {
  const [anyHash = '$2b$10$'] = users.values()
  return `${anyHash.slice(0, 7)}${'.'.repeat(53)}`
}
