import type tls from 'node:tls'
import type { TlsConfig } from './web-config.ts'

/** Whether a client that has just connected may go on: what Go's crypto/tls does for each ClientAuthType. */
export function acceptsClient(socket: tls.TLSSocket, { clientAuth, clientAllowedSans }: TlsConfig): boolean {
  const certificate = socket.getPeerX509Certificate()
  const isVerified = certificate !== undefined && socket.authorized
  if (clientAuth === 'RequireAnyClientCert' && certificate === undefined) return false
  if (clientAuth === 'VerifyClientCertIfGiven' && certificate !== undefined && !isVerified) return false
  if (clientAuth === 'RequireAndVerifyClientCert' && !isVerified) return false
  if (clientAllowedSans === undefined) return true
  return readSubjectAltNames(certificate?.subjectAltName).some((name) => clientAllowedSans.includes(name))
}

/** Of Node's text `DNS:a.example, IP Address:0:0:0:0:0:0:0:1, URI:spiffe://x`, where values with odd characters are JSON strings. Addresses are written as Go writes them. */
export function readSubjectAltNames(text: string | undefined): readonly string[] {
  const names: string[] = []
  for (const [, kind, value = ''] of (text ?? '').matchAll(/(?:^|, )([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^,]*)/g)) {
    if (kind !== 'DNS' && kind !== 'IP Address' && kind !== 'email' && kind !== 'URI') continue
    const plain = value.startsWith('"') ? String(JSON.parse(value)) : value
    names.push(kind === 'IP Address' && plain.includes(':') ? shortenAddress(plain) : plain)
  }
  return names
}

const shortenAddress = (address: string): string =>
  URL.canParse(`http://[${address}]`) ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address
