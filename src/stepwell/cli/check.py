def check() -> None:
    """x"""
