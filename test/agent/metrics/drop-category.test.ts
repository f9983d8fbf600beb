import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { categoryOfDropReason } from '../../../agent/metrics/drop-category.ts'

const folder = new URL('../../fixtures/drop-reasons/', import.meta.url)
const readNames = (file: string) =>
  readFileSync(new URL(file, folder), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))

/** What their names do not tell; every other reason of a known kernel has a category. */
const deliberatelyOther = ['not_specified', 'psp_input', 'psp_output', 'ovs_drop_last_action', 'ovs_drop_action_error']

describe('the category of a drop reason', () => {
  test.each(readdirSync(folder))('is known for every reason of kernel %s', (file) => {
    const names = readNames(file)
    expect(names.length).toBeGreaterThan(60)
    const others = names.filter((name) => categoryOfDropReason(name) === 'other')
    expect(others.filter((name) => !deliberatelyOther.includes(name))).toEqual([])
    expect(others).toContain('not_specified')
  })

  test.each([
    ['netfilter_drop', 'netfilter'],
    ['tc_ingress', 'netfilter'],
    ['xdp', 'netfilter'],
    ['no_socket', 'no_socket'],
    ['socket_rcvbuff', 'socket_buffer'],
    ['tcp_listen_overflow', 'socket_buffer'],
    ['tcp_reset', 'connection_state'],
    ['tcp_invalid_sequence', 'connection_state'],
    ['tcp_csum', 'checksum'],
    ['hdr_trunc', 'malformed'],
    ['ip_rpfilter', 'routing'],
    ['neigh_failed', 'neighbour'],
    ['qdisc_drop', 'queue'],
    ['qdisc_drop_overlimit', 'queue'],
    ['cpu_backlog', 'queue'],
    ['ip_inhdr', 'ttl'],
    ['pkt_too_big', 'mtu'],
    ['proto_mem', 'memory'],
    ['dev_ready', 'device'],
    ['tcp_old_data', 'normal'],
    ['queue_purge', 'normal'],
    ['subsys_1:7', 'other'],
  ])('%s: %s', (name, category) => {
    expect(categoryOfDropReason(name)).toBe(category)
  })

  test('a reason that is not known yet joins its family, or is other', () => {
    expect(categoryOfDropReason('tcp_something_new')).toBe('connection_state')
    expect(categoryOfDropReason('something_new')).toBe('other')
  })
})
