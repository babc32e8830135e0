import { expect, test } from 'vitest'
import { faultOfPeer } from './report-path.ts'

test.each([
  ['CERT_HAS_EXPIRED', 'untimely'],
  ['CERT_NOT_YET_VALID', 'untimely'],
  ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'foreign'],
  ['PKI_WRONG_PEER', 'foreign'],
  ['ECONNREFUSED', undefined],
])('after %s a connection was lost to what is %s', (code, fault) => {
  expect(faultOfPeer(Object.assign(new Error('lost'), { code }))).toBe(fault)
})
