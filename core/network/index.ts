export {
  captivePortalUri,
  type DhcpMessage,
  decodeAddresses,
  decodeClasslessRoutes,
  decodeDhcp,
  dhcpOption,
  dhcpType,
  encodeDhcp,
  type PushedRoute,
} from './dhcp.ts'
export { type GatewayMemory, judgeGateway, rememberGateway } from './gateway-memory.ts'
export {
  type Gateway,
  gatewaysIn,
  judgeOffers,
  judgeRoutes,
  type Offer,
  type Suspicions,
} from './judge.ts'
export { NetworkError, type NetworkErrorCode } from './network-error.ts'
export {
  type Link,
  type Neighbour,
  parseArping,
  parseLinks,
  parseNeighbours,
  parseResolvConf,
  parseRoutes,
  type Route,
} from './tables.ts'
