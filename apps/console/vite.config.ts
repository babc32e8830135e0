import react from '@vitejs/plugin-react'
import { defineConfig, type UserConfig } from 'vite'
import { mockApi } from './dev/mock-api.ts'

/** Built for a Content-Security-Policy of `default-src 'self'`: nothing is inlined and nothing needs eval. */
const config: UserConfig = defineConfig({
  plugins: [react(), mockApi()],
  build: { target: 'esnext', assetsInlineLimit: 0, modulePreload: { polyfill: false } },
})

export default config
