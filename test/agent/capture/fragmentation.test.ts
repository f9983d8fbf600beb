import { expect, it } from 'vitest'
import { createFragmentationNeeded } from '../../../agent/capture/fragmentation.ts'
import type { Point } from '../../../agent/capture/sighting.ts'

const uplink: Point = { packetType: 0, ttl: 60, identification: 7 }
const onward: Point = { packetType: 4, ttl: 59, identification: 7 }
const [host, pod] = [1, 2]
const countsOf = ({ counts }: ReturnType<typeof createFragmentationNeeded>) =>
  Object.fromEntries([...counts].map(([subject, [count]]) => [subject, count]))

it('to the host', () => {
  const messages = createFragmentationNeeded(100)
  messages.take(host, true, 'packet 1', uplink, 0)
  messages.take(host, true, 'packet 2', uplink, 0.1)
  expect(countsOf(messages)).toEqual({}) // it may be sent on to a pod
  messages.expire(1000)
  expect(countsOf(messages)).toEqual({ [host]: 2 })
})

it('to the host, which sends it on to a pod: the pod alone, although it is seen leaving twice', () => {
  const messages = createFragmentationNeeded(100)
  messages.take(host, true, 'packet', uplink, 0)
  messages.take(pod, false, 'packet', onward, 0.05)
  messages.take(pod, false, 'packet', onward, 0.06)
  messages.expire(1000)
  expect(countsOf(messages)).toEqual({ [pod]: 1 })
})

it('again for the same packet, at once or later: another', () => {
  const messages = createFragmentationNeeded(100)
  for (const [identification, timeMs] of [0, 0.5, 1000].entries()) {
    messages.take(host, true, 'packet', { ...uplink, identification: 7 + identification }, timeMs)
    messages.take(pod, false, 'packet', { ...onward, identification: 7 + identification }, timeMs + 0.05)
  }
  messages.expire(2000)
  expect(countsOf(messages)).toEqual({ [pod]: 3 })
})

it('more at once than are remembered are counted all the same', () => {
  const messages = createFragmentationNeeded(10)
  for (let i = 0; i < 1000; i++) messages.take(pod, false, `packet ${i}`, onward, 0)
  messages.expire(1000)
  expect(countsOf(messages)).toEqual({ [pod]: 1000 })
  messages.forget(pod)
  expect(countsOf(messages)).toEqual({})
})
