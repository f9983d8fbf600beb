import { createRequire } from 'node:module'
import type { Packet } from 'dns-packet'

/** npm's dns-packet, the other reader that ours is compared with. Its types do not tell all that it exports. */
interface Codec {
  encode(value: unknown): Uint8Array
  decode: ((bytes: Uint8Array, at: number) => unknown) & { bytes?: number }
}
interface Words {
  toString(value: number): string
}
const require = createRequire(import.meta.url)
const library: Record<string, Codec | undefined> & Codec = require('dns-packet')
export const dnsPacketTypes: Words = require('dns-packet/types')
export const dnsPacketClasses: Words = require('dns-packet/classes')
export const dnsPacketRcodes: Words = require('dns-packet/rcodes')

interface DnsPacketRecord {
  readonly type: string
  readonly class: string
  readonly flush?: boolean
  readonly data: string
  readonly extendedRcode?: number
}
/** A message as dns-packet tells it: words for types, classes and codes. */
export interface DnsPacketMessage {
  readonly id: number
  readonly type: 'query' | 'response'
  /** Without the bit that is `type`. */
  readonly flags: number
  readonly questions: readonly { readonly name: string; readonly type: string; readonly class: string }[]
  readonly answers: readonly DnsPacketRecord[]
  readonly authorities: readonly DnsPacketRecord[]
  readonly additionals: readonly DnsPacketRecord[]
}

export function encodeWithDnsPacket(message: Packet): Uint8Array {
  return Uint8Array.from(library.encode(message))
}

/** Undefined: refused. */
export function decodeWithDnsPacket(bytes: Uint8Array): DnsPacketMessage | undefined {
  try {
    return library.decode(Buffer.from(bytes), 0) as DnsPacketMessage
  } catch {
    return undefined
  }
}

/**
 * The same, where the data of records is as long as it says and not looked into. dns-packet by itself refuses data that its
 * type does not allow, reads on where that data should have ended, and takes strings that run out of the message.
 */
export function decodeFormWithDnsPacket(bytes: Uint8Array): DnsPacketMessage | undefined {
  const ofMessages = ['name', 'question', 'answer', 'option']
  const codecs = Object.entries(library).filter(([name, codec]) => typeof codec === 'object' && !ofMessages.includes(name))
  const originals = codecs.map(([, codec]) => codec!.decode)
  const stepOver: Codec['decode'] = (message, at) => {
    const length = Buffer.from(message.buffer, message.byteOffset, message.length).readUInt16BE(at)
    if (at + 2 + length > message.length) throw new RangeError('data that runs out of the message')
    stepOver.bytes = 2 + length
    return message.subarray(at + 2, at + 2 + length)
  }
  for (const [, codec] of codecs) codec!.decode = stepOver
  try {
    return decodeWithDnsPacket(bytes)
  } finally {
    codecs.forEach(([, codec], i) => {
      codec!.decode = originals[i]!
    })
  }
}
