import fs from 'node:fs'
import { renderReference } from './reference.ts'

const [path] = process.argv.slice(2)
if (path === undefined) throw new Error('usage: write-reference docs/reference.md')
fs.writeFileSync(path, renderReference())
