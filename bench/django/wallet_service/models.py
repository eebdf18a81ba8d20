"""Wallets and the operations on them."""

import uuid
from decimal import Decimal

from django.db import models


class Wallet(models.Model):
    """A balance."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    balance = models.DecimalField(max_digits=20, decimal_places=2, default=Decimal("0.00"))
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)


class WalletOperation(models.Model):
    """One change of a balance."""

    class Type(models.TextChoices):
        """Which way the money goes."""

        DEPOSIT = "DEPOSIT"
        WITHDRAW = "WITHDRAW"

    wallet = models.ForeignKey(Wallet, on_delete=models.CASCADE, related_name="operations")
    operation_type = models.CharField(max_length=10, choices=Type.choices)
    amount = models.DecimalField(max_digits=20, decimal_places=2)
    created_at = models.DateTimeField(auto_now_add=True)
