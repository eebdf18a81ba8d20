"""What goes over the wire."""

from decimal import Decimal

from rest_framework import serializers

from .models import Wallet, WalletOperation


class WalletSerializer(serializers.ModelSerializer):
    """A wallet in an answer."""

    class Meta:
        model = Wallet
        fields = ["id", "balance", "created_at", "updated_at"]


class OperationSerializer(serializers.Serializer):
    """The body of an operation."""

    operation_type = serializers.ChoiceField(choices=WalletOperation.Type.choices)
    amount = serializers.DecimalField(max_digits=20, decimal_places=2, min_value=Decimal("0.01"))
