"""WeChat Pay APIv3 for one direct merchant: signing, sending, verifying, decrypting.

Knows no Flask, no settings object and no orders; every value it needs is handed to a constructor.
"""
