import fs from 'node:fs'
import path from 'node:path'
import { expect, it } from 'vitest'

const root = path.resolve(import.meta.dirname, '..')
const read = (file: string): string => fs.readFileSync(path.join(root, file), 'utf8')
const dockerfile = read('Dockerfile')

it('bears the version of package.json, also where whoever builds it says none', () => {
  expect(/^ARG VERSION=(.*)$/m.exec(dockerfile)?.[1]).toBe(JSON.parse(read('package.json')).version)
})

it('is of files that .dockerignore lets through', () => {
  const allowed = read('.dockerignore').match(/(?<=^!).*/gm) ?? []
  const copied = [...dockerfile.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap(([, sources = '']) => sources.split(' '))
  expect(copied.length).toBeGreaterThan(5)
  expect(copied.filter((source) => !allowed.some((one) => source === one || source.startsWith(`${one}/`)))).toEqual([])
})
