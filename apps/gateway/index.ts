export { createGateway, type Gateway, type GatewayOptions, type GatewayTls } from './gateway.ts'
export { defaultLimits, type GatewayLimits } from './limits.ts'
export { type GatewayConfig, type GatewayRun, gatewayConfig, runGateway } from './run-gateway.ts'
export { sessionHeader } from './upgrade-head.ts'
